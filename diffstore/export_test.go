// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import "math"

// MinTombstones exports minTombstones.
const MinTombstones = minTombstones

// Tombstones returns the number of tombstones in s, or -1 if its indexes are inconsistent.
func (s *Store[K, V]) Tombstones() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.tombstones.len()
	if n != s.tombstones.byRevision.Len() || n+s.items.Len() != s.log.Len() {
		return -1
	}
	return n
}

// Tombstones returns the number of tombstones in the store of f.
func (f *Fill[K, V]) Tombstones() int { return f.tx.s.Tombstones() }

// SkipToLastRound makes the current round of f the last before the numbers begin again.
func (f *Fill[K, V]) SkipToLastRound() { f.round = math.MaxUint32 }

// HasLogSince exports hasLogSince.
func (s *Snapshot[K, V]) HasLogSince(old *Snapshot[K, V]) bool { return s.hasLogSince(old) }

// Sum returns the content hash of v.
func (s *Store[K, V]) Sum(v V) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sum(v)
}
