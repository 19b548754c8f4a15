// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"iter"
	"sync/atomic"
)

// A Reader records which snapshot a consumer has acknowledged. The store keeps tombstones
// for its readers, up to a bound, so a reader must be closed when it is no longer used.
// One goroutine may use a reader at a time.
type Reader[K, V any] struct {
	s            *Store[K, V]
	acknowledged atomic.Pointer[Snapshot[K, V]] // atomic because the store's writers read it
}

// Reader returns a reader that has acknowledged the empty store, so that all keys are
// pending.
func (s *Store[K, V]) Reader() *Reader[K, V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Reader[K, V]{s: s}
	r.acknowledged.Store(s.empty)
	s.readers[r] = struct{}{}
	return r
}

// Acknowledged returns the last acknowledged snapshot.
func (r *Reader[K, V]) Acknowledged() *Snapshot[K, V] { return r.acknowledged.Load() }

// Pending returns the store's current snapshot and its net changes since the acknowledged
// one; see [Snapshot.Diff].
func (r *Reader[K, V]) Pending() (*Snapshot[K, V], iter.Seq[Change[K, V]]) {
	current := r.s.Snapshot()
	return current, current.Diff(r.acknowledged.Load())
}

// Acknowledge records that the consumer has applied snap, a snapshot of the reader's
// store. It may be older than the one acknowledged before.
func (r *Reader[K, V]) Acknowledge(snap *Snapshot[K, V]) { r.acknowledged.Store(snap) }

// Close releases the tombstones that the store keeps for r. Further calls have no effect.
func (r *Reader[K, V]) Close() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	delete(r.s.readers, r)
}
