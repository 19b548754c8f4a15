// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/diffstore"
)

// A Hub holds a set of items, and the streams that it sends them to. K is the type of keys,
// and X of the data that a snapshot holds beside the items. Create it with [New].
//
// Its methods may be called by any number of goroutines at the same time, except for Update,
// Run and Follow.
type Hub[K, X any] struct {
	// Immutable.
	encodeCommit func(old, new *Snapshot[K, X]) []byte
	limits       Limits
	maxWorkers   int
	slots        chan struct{} // holds an element for each stream in its initial sync
	// onTransition, if not nil, is called with mu held for each transition of a stream. Tests
	// set it.
	onTransition func(s *stream[K, X], from, to streamState)

	// Owned by the caller of Update.
	items *diffstore.Store[K, Item]

	snapshot atomic.Pointer[Snapshot[K, X]] // the newest

	// mu also guards the state of each stream. The mutex of a stream may be locked while mu
	// is held, but not the other way around.
	mu       sync.Mutex
	batches  []*Batch[K] // cache; the newest is last
	initials map[string]*initial[K, X]
	streams  map[*stream[K, X]]struct{} // all that are not closed
	idle     []*stream[K, X]            // exactly those in stateIdle
	queue    []*stream[K, X]            // those in stateQueued, and closed ones; the first is next
	workers  int                        // running workers, without replaced ones
	closed   bool                       // the context of Run is done; no stream may begin

	goroutines sync.WaitGroup // of all streams and workers
}

// A Snapshot is the content of a hub at one revision. It is immutable.
type Snapshot[K, X any] struct {
	// Revision increases with each snapshot of a hub.
	Revision uint64
	// Items holds the items by key.
	Items *diffstore.Snapshot[K, Item]
	// Extra is the data that the snapshot holds beside the items.
	Extra X

	newer chan struct{}
}

// Newer returns a channel that is closed when the hub has a newer snapshot.
func (s *Snapshot[K, X]) Newer() <-chan struct{} { return s.newer }

// New returns a hub without items. encodeCommit encodes the end of an update from one
// snapshot to another, and is called for every update; old is nil in an initial sync.
func New[K, X any](compare func(a, b K) int, encodeCommit func(old, new *Snapshot[K, X]) []byte, limits Limits) *Hub[K, X] {
	limits.setDefaults()
	h := &Hub[K, X]{
		encodeCommit: encodeCommit,
		items:        diffstore.New(compare, func(d *diffstore.Hash, i Item) { d.Uint(i.Version()) }),
		limits:       limits,
		maxWorkers:   runtime.GOMAXPROCS(0),
		slots:        make(chan struct{}, limits.InitialSyncs),
		initials:     map[string]*initial[K, X]{},
		streams:      map[*stream[K, X]]struct{}{},
	}
	h.snapshot.Store(&Snapshot[K, X]{Items: h.items.Snapshot(), newer: make(chan struct{})})
	return h
}

// Limits returns the limits of the hub, with defaults set.
func (h *Hub[K, X]) Limits() Limits { return h.limits }

// Snapshot returns the newest snapshot.
func (h *Hub[K, X]) Snapshot() *Snapshot[K, X] { return h.snapshot.Load() }

// Update calls modify, which changes the items, and publishes the result as a new snapshot.
// Calls must not overlap.
func (h *Hub[K, X]) Update(extra X, modify func(tx *diffstore.Tx[K, Item])) {
	h.expireInitials()
	items := h.items.Update(modify)
	h.mu.Lock()
	defer h.mu.Unlock()
	// A stream that becomes idle from here on is at the new snapshot, and all that are idle are not:
	// one that is queued has something to be sent.
	old := h.snapshot.Load()
	h.snapshot.Store(&Snapshot[K, X]{
		Revision: old.Revision + 1,
		Items:    items,
		Extra:    extra,
		newer:    make(chan struct{}),
	})
	close(old.newer)
	h.queueIdle()
	h.startWorkers()
}

// Run ends streams that exceed their limits, until ctx is done. Then it ends all streams,
// and returns when their goroutines have ended. It must be called once; later calls of Serve
// return at once.
func (h *Hub[K, X]) Run(ctx context.Context) {
	interval := max(min(h.limits.AckTimeout, h.limits.SendTimeout, h.limits.HelloTimeout)/4, time.Millisecond)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			h.mu.Lock()
			h.closed = true
			h.mu.Unlock()
			h.forEach(func(s *stream[K, X]) { s.end(context.Canceled) })
			h.goroutines.Wait()
			return
		case now := <-ticker.C:
			h.forEach(func(s *stream[K, X]) { s.checkTimeouts(now) })
			h.expireInitials()
		}
	}
}

// Follow calls Run, and refresh at once and again each time the channel that it returned is
// closed, with at least interval between two calls. refresh is expected to call Update.
// Follow returns when ctx is done and Run and refresh have returned. It must be called once,
// in place of Run.
func (h *Hub[K, X]) Follow(ctx context.Context, interval time.Duration, refresh func() <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for {
		newer := refresh()
		timer := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-newer:
		}
	}
}

func (h *Hub[K, X]) forEach(fn func(*stream[K, X])) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.streams {
		fn(s)
	}
}
