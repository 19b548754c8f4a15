// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"iter"
	"sync/atomic"
)

// A Reader remembers which snapshot one consumer has accepted. A store remembers
// deletions for its readers, within bounds, so a reader that is not needed any
// more must be closed. One goroutine may use a reader at a time.
type Reader[K, V any] struct {
	s        *Store[K, V]
	accepted atomic.Pointer[Snapshot[K, V]]
}

// Reader returns a reader that has accepted the empty store: at first, everything
// is a change.
func (s *Store[K, V]) Reader() *Reader[K, V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Reader[K, V]{s: s}
	r.accepted.Store(s.empty)
	s.readers[r] = struct{}{}
	return r
}

// Acknowledged returns the snapshot that was accepted last.
func (r *Reader[K, V]) Acknowledged() *Snapshot[K, V] { return r.accepted.Load() }

// Pending returns the store's present snapshot and its net difference from the
// accepted one.
func (r *Reader[K, V]) Pending() (*Snapshot[K, V], iter.Seq[Change[K, V]]) {
	now := r.s.Snapshot()
	return now, now.Diff(r.accepted.Load())
}

// Acknowledge declares that the consumer has everything in snap, a snapshot of the
// reader's store; what it differs in from later ones is pending.
func (r *Reader[K, V]) Acknowledge(snap *Snapshot[K, V]) { r.accepted.Store(snap) }

// Close ends the reader; closing twice does nothing.
func (r *Reader[K, V]) Close() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	delete(r.s.readers, r)
}
