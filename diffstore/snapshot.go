// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"iter"
	"sync"
	"time"
)

// A Snapshot is an immutable version of a store. All its methods may be called
// concurrently. A snapshot shares memory with newer versions and need not be closed.
type Snapshot[K, V any] struct {
	compare   func(a, b K) int
	probes    *probes[K, V]
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
	probe := s.probes.get(key)
	defer s.probes.put(probe)
	if e, ok := s.items.Get(probe); ok {
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
	return func(yield func(K, V) bool) { s.probes.ascend(s.items, key, yield) }
}

// probes are the lookup keys of concurrent readers, kept to avoid an allocation per lookup.
type probes[K, V any] struct{ pool sync.Pool }

func (p *probes[K, V]) get(key K) *entry[K, V] {
	probe, ok := p.pool.Get().(*entry[K, V])
	if !ok {
		probe = &entry[K, V]{}
	}
	probe.key = key
	return probe
}

func (p *probes[K, V]) put(probe *entry[K, V]) {
	*probe = entry[K, V]{} // keeps no memory of the key alive
	p.pool.Put(probe)
}

func (p *probes[K, V]) ascend(t *tree[K, V], from K, yield func(K, V) bool) {
	probe := p.get(from)
	defer p.put(probe)
	t.AscendGreaterOrEqual(probe, func(e *entry[K, V]) bool { return yield(e.key, e.value) })
}
