// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

// minTombstones is the number of tombstones that a store keeps for readers that have not
// acknowledged them, and for snapshots that callers hold when there is no reader. A store
// with more keys keeps as many tombstones as it has keys, so memory stays proportional to
// the content.
const minTombstones = 1024

// tombstones are the entries of deleted keys. The store's log holds them, too.
type tombstones[K, V any] struct {
	byKey      *tree[K, V] // finds the tombstone of a key that is set again
	byRevision *tree[K, V] // finds the oldest tombstone
}

func (t *tombstones[K, V]) add(e *entry[K, V]) {
	t.byKey.ReplaceOrInsert(e)
	t.byRevision.ReplaceOrInsert(e)
}

func (t *tombstones[K, V]) remove(e *entry[K, V]) {
	t.byKey.Delete(e)
	t.byRevision.Delete(e)
}

func (t *tombstones[K, V]) len() int { return t.byKey.Len() }

// compact removes the tombstones that every reader has acknowledged, and the oldest ones
// above the bound. Both are safe: [Snapshot.Diff] from a snapshot older than
// s.compacted compares whole snapshots instead of reading the log. s.mu must be held.
func (s *Store[K, V]) compact() {
	if s.tombstones.len() == 0 {
		return
	}
	acknowledged := s.compacted
	if len(s.readers) > 0 {
		acknowledged = s.rev
		for r := range s.readers {
			acknowledged = min(acknowledged, r.Acknowledged().rev)
		}
	}
	excess := s.tombstones.len() - max(minTombstones, s.items.Len())
	for ; s.tombstones.len() > 0; excess-- {
		oldest, _ := s.tombstones.byRevision.Min()
		if oldest.rev > acknowledged && excess <= 0 {
			return
		}
		s.tombstones.remove(oldest)
		s.log.Delete(oldest)
		s.compacted = oldest.rev
	}
}
