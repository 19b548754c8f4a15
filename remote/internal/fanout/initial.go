// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"sync"
	"time"
)

const (
	// initialLife is how long streams begin with the same snapshot, before they are sent
	// the newest. So the streams that begin within that time share one encoding.
	initialLife = 2 * time.Second
	// maxInitials bounds how many of these snapshots are cached. Classes are few, unless
	// peers choose them freely.
	maxInitials = 64
)

// An initial is a snapshot that streams of a class begin with.
type initial[K, X any] struct {
	// Immutable.
	snapshot *Snapshot[K, X]
	created  time.Time

	sumOnce sync.Once
	xor     uint64 // of the digests of all items of the class
	count   int    // of these items

	fullOnce sync.Once
	full     Batch[K]
}

// initial returns a recent snapshot for a class; if exact is set, the newest.
func (h *Hub[K, X]) initial(class string, exact bool) *initial[K, X] {
	h.mu.Lock()
	i, newest := h.initials[class], h.snapshot.Load()
	var older *initial[K, X]
	if i == nil || i.snapshot != newest && (exact || time.Since(i.created) > initialLife) {
		older, i = i, &initial[K, X]{snapshot: newest, created: time.Now()}
		if len(h.initials) >= maxInitials {
			clear(h.initials)
		}
		h.initials[class] = i
	}
	h.mu.Unlock()
	i.sum(class, older)
	return i
}

// expireInitials removes the snapshots that no stream will begin with.
func (h *Hub[K, X]) expireInitials() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for class, i := range h.initials {
		if time.Since(i.created) > initialLife {
			delete(h.initials, class)
		}
	}
}

// sum computes xor and count. If older is not nil, it adds the difference to the sums of
// older: when many streams resume during many changes, each needs another snapshot.
func (i *initial[K, X]) sum(class string, older *initial[K, X]) {
	i.sumOnce.Do(func() {
		add := func(item Item, n int) {
			if e := encoding(item, class); e != nil {
				i.xor ^= e.Digest
				i.count += n
			}
		}
		if older == nil {
			for _, item := range i.snapshot.Items.All() {
				add(item, 1)
			}
			return
		}
		older.sum(class, nil)
		i.xor, i.count = older.xor, older.count
		for d := range i.snapshot.Items.Diff(older.snapshot.Items) {
			was, _ := older.snapshot.Items.Get(d.Key)
			add(was, -1)
			add(d.Value, 1)
		}
	})
}

// whole returns all items of the snapshot, without a commit.
func (i *initial[K, X]) whole(class string) *Batch[K] {
	i.fullOnce.Do(func() {
		var pieces splitter
		for _, item := range i.snapshot.Items.All() {
			if e := item.EncodingFor(class); e != nil {
				pieces.add(e.Full)
			}
		}
		i.full.setMessages(pieces, nil)
	})
	return &i.full
}

// missing compares the snapshot with the digests that a peer holds. It returns the items that
// the peer does not hold, without a commit, and the digests that the snapshot does not have.
// It modifies held.
func (i *initial[K, X]) missing(class string, held map[uint64]struct{}) (items *Batch[K], removed []uint64) {
	var pieces splitter
	count := len(held)
	for _, item := range i.snapshot.Items.All() {
		e := item.EncodingFor(class)
		if e == nil {
			continue
		}
		if _, ok := held[e.Digest]; ok {
			delete(held, e.Digest)
			continue
		}
		pieces.add(e.Full)
	}
	for d := range held {
		removed = append(removed, d)
	}
	if count > 0 && len(removed) == count {
		return i.whole(class), removed // the same items, in messages that streams share
	}
	items = &Batch[K]{}
	items.setMessages(pieces, nil)
	return items, removed
}
