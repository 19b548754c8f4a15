// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/diffstore"
)

// Limits of what a peer may cost. Zero fields mean the default.
type Limits struct {
	// Unacknowledged is how many updates a peer that acknowledges is sent ahead of its
	// acknowledgements. Default 64.
	Unacknowledged int
	// AckTimeout is how long a peer may owe an acknowledgement. Default one minute.
	AckTimeout time.Duration
	// SendTimeout is how long a peer may leave what was sent unread. Default 30 seconds.
	SendTimeout time.Duration
	// HelloTimeout is how long a peer may take to say hello, and then what it holds.
	// Default 30 seconds.
	HelloTimeout time.Duration
	// Beginning is how many peers are sent a whole state at the same time; others wait for
	// their turn, so that when thousands come at once each is served quickly and memory is
	// bounded. A peer that is slow gives up its turn after a few seconds. Default 128.
	Beginning int
	// Held is how many items a peer may say that it holds. Default 1,000,000.
	Held int
}

func (l *Limits) complete() {
	l.Unacknowledged = cmp.Or(l.Unacknowledged, 64)
	l.AckTimeout = cmp.Or(l.AckTimeout, time.Minute)
	l.SendTimeout = cmp.Or(l.SendTimeout, 30*time.Second)
	l.HelloTimeout = cmp.Or(l.HelloTimeout, 30*time.Second)
	l.Beginning = cmp.Or(l.Beginning, 128)
	l.Held = cmp.Or(l.Held, 1_000_000)
}

// Errors with which a stream ends because of its peer.
var (
	// ErrNotRead is of a peer that does not read what it is sent.
	ErrNotRead = errors.New("fanout: the peer does not read what it is sent")
	// ErrNotAcknowledged is of a peer that owes an acknowledgement.
	ErrNotAcknowledged = errors.New("fanout: the peer does not acknowledge what it is sent")
	// ErrNotSaid is of a peer that does not say what it holds.
	ErrNotSaid = errors.New("fanout: the peer does not say what it holds")
	// ErrHeldTooMuch is of a peer that says it holds more than anybody can, or than it said
	// first.
	ErrHeldTooMuch = errors.New("fanout: the peer claims to hold too much")
	// ErrUnexpected is of a peer that says what it was not asked.
	ErrUnexpected = errors.New("fanout: the peer says what it was not asked")
)

// A Hub is a set of items and the streams that are told about it. X is what belongs to
// a state beside the items.
type Hub[K, X any] struct {
	items  *diffstore.Store[K, Item]
	end    func(old, new *State[K, X]) []byte
	limits Limits
	state  atomic.Pointer[State[K, X]]
	turns  chan struct{} // who is being sent a whole state
	// tellers is how many goroutines at most tell those that are due.
	tellers int

	mu       sync.Mutex
	batches  []*Batch[K] // the newest last
	bases    map[string]*base[K, X]
	sessions map[*session[K, X]]struct{}
	resting  []*session[K, X]
	due      []*session[K, X] // for news, the first first
	telling  int              // how many tellers there are
	closed   bool             // Run has ended, and nobody watches over sessions any more
	senders  sync.WaitGroup
}

// A State is what a hub has to tell at one moment. It never changes.
type State[K, X any] struct {
	// Revision grows with each state of a hub.
	Revision uint64
	// Items are the items, by key.
	Items *diffstore.Snapshot[K, Item]
	// Extra is what belongs to the state beside the items.
	Extra X

	newer chan struct{}
}

// Newer returns a channel that is closed when the hub has a newer state.
func (s *State[K, X]) Newer() <-chan struct{} { return s.newer }

// New returns a hub without items. end encodes what ends every update that leads to a
// state, whether or not there is anything else in it; old is nil where a stream begins.
func New[K, X any](compare func(a, b K) int, end func(old, new *State[K, X]) []byte, limits Limits) *Hub[K, X] {
	limits.complete()
	h := &Hub[K, X]{
		end:      end,
		items:    diffstore.New(compare, func(d *diffstore.Hash, i Item) { d.Uint(i.Sequence()) }),
		limits:   limits,
		turns:    make(chan struct{}, limits.Beginning),
		tellers:  runtime.GOMAXPROCS(0),
		bases:    map[string]*base[K, X]{},
		sessions: map[*session[K, X]]struct{}{},
	}
	h.state.Store(&State[K, X]{Items: h.items.Snapshot(), newer: make(chan struct{})})
	return h
}

// Limits returns what a peer may cost, with all defaults filled in.
func (h *Hub[K, X]) Limits() Limits { return h.limits }

// State returns the present state.
func (h *Hub[K, X]) State() *State[K, X] { return h.state.Load() }

// Update runs fn, which changes the items, and publishes the result as a new state.
// Calls must not overlap.
func (h *Hub[K, X]) Update(extra X, fn func(tx *diffstore.Tx[K, Item])) {
	old := h.state.Load()
	h.forgetBases()
	h.state.Store(&State[K, X]{
		Revision: old.Revision + 1,
		Items:    h.items.Update(fn),
		Extra:    extra,
		newer:    make(chan struct{}),
	})
	close(old.newer)
	h.tell()
}

// Run ends streams whose peers are stuck, until ctx is done; then it ends all, also those
// that come later, and returns when they have ended. It is called once.
func (h *Hub[K, X]) Run(ctx context.Context) {
	every := max(min(h.limits.AckTimeout, h.limits.SendTimeout, h.limits.HelloTimeout)/4, time.Millisecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			h.mu.Lock()
			h.closed = true
			h.mu.Unlock()
			h.each(func(s *session[K, X]) { s.end(context.Canceled) })
			h.senders.Wait()
			return
		case now := <-ticker.C:
			h.each(func(s *session[K, X]) { s.check(now) })
			h.forgetBases()
		}
	}
}

// Follow is Run beside a loop that brings in what is new: fn is called at once, and again
// whenever the channel that it has returned is closed, but no sooner than interval after
// the last call. Follow returns when ctx is done and both have ended.
func (h *Hub[K, X]) Follow(ctx context.Context, interval time.Duration, fn func() <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); h.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for {
		newer := fn()
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

func (h *Hub[K, X]) each(fn func(*session[K, X])) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.sessions {
		fn(s)
	}
}
