// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

// Tombstones returns how many deletions s remembers, and checks that its indexes
// agree about them.
func (s *Store[K, V]) Tombstones() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.graves.Len()
	if n != s.burials.Len() || n+s.items.Len() != s.log.Len() {
		return -1
	}
	return n
}

// Tombstones returns how many deletions the fill's store remembers.
func (f *Fill[K, V]) Tombstones() int { return f.tx.s.Tombstones() }

// Sum returns the hash of a value.
func (s *Store[K, V]) Sum(v V) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum(v)
}

// MinTombstones is what a store remembers for anybody.
const MinTombstones = minTombstones
