// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import "iter"

// A Change is a key that differs between two snapshots, with its value in the newer one.
type Change[K, V any] struct {
	Key     K
	Value   V    // the zero value if Deleted
	Deleted bool // the newer snapshot does not hold Key
}

// Diff yields the net changes from old, an older snapshot of the same store, to s. Each
// changed key is yielded once; a key that was changed and changed back, or added and
// deleted again, is not.
//
// Changes are ordered by revision and cost time proportional to their number. If the store
// has removed tombstones that are newer than old, changes are ordered by key and cost time
// proportional to the size of both snapshots.
//
// The iterator may be used repeatedly and concurrently.
func (s *Snapshot[K, V]) Diff(old *Snapshot[K, V]) iter.Seq[Change[K, V]] {
	if s.hasLogSince(old) {
		return s.diffByLog(old)
	}
	return s.diffByKey(old)
}

// hasLogSince reports whether the log of s holds every key that changed after old.
func (s *Snapshot[K, V]) hasLogSince(old *Snapshot[K, V]) bool { return old.rev >= s.compacted }

// diffByLog is Diff by reading the log of s from the revision of old.
func (s *Snapshot[K, V]) diffByLog(old *Snapshot[K, V]) iter.Seq[Change[K, V]] {
	return func(yield func(Change[K, V]) bool) {
		if old.rev >= s.rev {
			return
		}
		s.log.AscendGreaterOrEqual(&entry[K, V]{rev: old.rev + 1}, func(e *entry[K, V]) bool {
			before, existed := old.items.Get(e)
			if e.deleted && !existed || !e.deleted && existed && before.hash == e.hash {
				return true
			}
			return yield(Change[K, V]{Key: e.key, Value: e.value, Deleted: e.deleted})
		})
	}
}

// diffByKey is Diff by walking the keys of both snapshots in parallel.
func (s *Snapshot[K, V]) diffByKey(old *Snapshot[K, V]) iter.Seq[Change[K, V]] {
	return func(yield func(Change[K, V]) bool) {
		next, stop := iter.Pull(entries(old.items))
		defer stop()
		before, more := next()
		// yieldDeleted yields the old keys before limit, or all that are left if it is nil.
		yieldDeleted := func(limit *entry[K, V]) bool {
			for ; more && (limit == nil || s.compare(before.key, limit.key) < 0); before, more = next() {
				if !yield(Change[K, V]{Key: before.key, Deleted: true}) {
					return false
				}
			}
			return true
		}
		for e := range entries(s.items) {
			if !yieldDeleted(e) {
				return
			}
			equal := false
			if more && s.compare(before.key, e.key) == 0 {
				equal = before.hash == e.hash
				before, more = next()
			}
			if !equal && !yield(Change[K, V]{Key: e.key, Value: e.value}) {
				return
			}
		}
		yieldDeleted(nil)
	}
}

func entries[K, V any](t *tree[K, V]) iter.Seq[*entry[K, V]] {
	return func(yield func(*entry[K, V]) bool) {
		t.Ascend(func(e *entry[K, V]) bool { return yield(e) })
	}
}
