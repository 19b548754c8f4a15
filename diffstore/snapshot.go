// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"iter"
	"time"
)

// A Snapshot is an immutable version of a store. All its methods may be called
// concurrently. A snapshot shares memory with newer versions and need not be closed.
type Snapshot[K, V any] struct {
	compare   func(a, b K) int
	items     *tree[K, V]
	log       *tree[K, V]
	rev       Revision
	compacted Revision // the log has no tombstones up to this revision
	newer     chan struct{}
	// replacedAt is written before newer is closed and must be read only after.
	replacedAt time.Time
}

// Revision returns the revision of the newest change in s.
func (s *Snapshot[K, V]) Revision() Revision { return s.rev }

// Newer returns a channel that is closed when the store has a newer snapshot.
func (s *Snapshot[K, V]) Newer() <-chan struct{} { return s.newer }

// ReplacedAt returns the time at which the store published the next snapshot. ok is false
// while s is the current snapshot.
func (s *Snapshot[K, V]) ReplacedAt() (at time.Time, ok bool) {
	select {
	case <-s.newer:
		return s.replacedAt, true
	default:
		return at, false
	}
}

// Len returns the number of keys.
func (s *Snapshot[K, V]) Len() int { return s.items.Len() }

// Get returns the value of key.
func (s *Snapshot[K, V]) Get(key K) (value V, ok bool) {
	if e, ok := s.items.Get(&entry[K, V]{key: key}); ok {
		return e.value, true
	}
	return value, false
}

// All yields all keys and values in key order.
func (s *Snapshot[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		s.items.Ascend(func(e *entry[K, V]) bool { return yield(e.key, e.value) })
	}
}

// From yields the keys >= key and their values in key order.
func (s *Snapshot[K, V]) From(key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { ascend(s.items, key, yield) }
}

func ascend[K, V any](t *tree[K, V], from K, yield func(K, V) bool) {
	t.AscendGreaterOrEqual(&entry[K, V]{key: from}, func(e *entry[K, V]) bool {
		return yield(e.key, e.value)
	})
}
