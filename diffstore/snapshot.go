// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"iter"
	"time"
)

// A Snapshot is the state of a store at one moment. It never changes, costs
// nothing to keep beyond what has changed since, and needs no closing.
type Snapshot[K, V any] struct {
	compare func(a, b K) int
	items   *tree[K, V]
	log     *tree[K, V]
	rev     Revision
	floor   Revision
	newer   chan struct{}
	// replaced is when newer was closed, and is set before that.
	replaced time.Time
}

// A Change says what a snapshot holds under a key that changed: a value, or, when
// Deleted, none.
type Change[K, V any] struct {
	Key     K
	Value   V // the zero value when Deleted
	Deleted bool
}

// Revision returns the revision of the newest change in s.
func (s *Snapshot[K, V]) Revision() Revision { return s.rev }

// Newer returns a channel that is closed when the store has a newer snapshot.
func (s *Snapshot[K, V]) Newer() <-chan struct{} { return s.newer }

// ReplacedAt returns when the store got a newer snapshot, and false when it has none.
func (s *Snapshot[K, V]) ReplacedAt() (at time.Time, ok bool) {
	select {
	case <-s.newer:
		return s.replaced, true
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

// All yields all keys and values in order.
func (s *Snapshot[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		s.items.Ascend(func(e *entry[K, V]) bool { return yield(e.key, e.value) })
	}
}

// From yields keys and values in order, beginning with the first key that is not
// before key.
func (s *Snapshot[K, V]) From(key K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { ascend(s.items, key, yield) }
}

func ascend[K, V any](t *tree[K, V], from K, yield func(K, V) bool) {
	t.AscendGreaterOrEqual(&entry[K, V]{key: from}, func(e *entry[K, V]) bool {
		return yield(e.key, e.value)
	})
}

// Changes yields what changed since a revision, each key once with what it is in
// s, oldest change first. It takes time in proportion to the changes, and deletes
// are included, also of keys that were added after since.
//
// The error is [ErrCompacted] when deletions after since have been forgotten. A
// since that is newer than s yields nothing.
func (s *Snapshot[K, V]) Changes(since Revision) (iter.Seq[Change[K, V]], error) {
	if since < s.floor {
		return nil, ErrCompacted
	}
	return func(yield func(Change[K, V]) bool) {
		s.after(since, func(e *entry[K, V]) bool { return yield(e.change()) })
	}, nil
}

// Diff yields the net difference between an older snapshot of the same store and
// s, each key once: what was added and deleted again, or changed and changed back,
// is not there. The order is that of the changes, or of the keys when old is older
// than the store's memory of deletions.
func (s *Snapshot[K, V]) Diff(old *Snapshot[K, V]) iter.Seq[Change[K, V]] {
	if old.rev < s.floor {
		return s.merge(old)
	}
	return func(yield func(Change[K, V]) bool) {
		s.after(old.rev, func(e *entry[K, V]) bool {
			was, existed := old.items.Get(e)
			if e.deleted && !existed || !e.deleted && existed && was.hash == e.hash {
				return true
			}
			return yield(e.change())
		})
	}
}

// after yields the newest change of each key that changed after a revision.
func (s *Snapshot[K, V]) after(since Revision, yield func(*entry[K, V]) bool) {
	if since < s.rev {
		s.log.AscendGreaterOrEqual(&entry[K, V]{rev: since + 1}, yield)
	}
}

func (e *entry[K, V]) change() Change[K, V] {
	return Change[K, V]{Key: e.key, Value: e.value, Deleted: e.deleted}
}

// merge is Diff by walking both snapshots from end to end.
func (s *Snapshot[K, V]) merge(old *Snapshot[K, V]) iter.Seq[Change[K, V]] {
	return func(yield func(Change[K, V]) bool) {
		next, stop := iter.Pull(entries(old.items))
		defer stop()
		was, more := next()
		gone := func(upTo *entry[K, V]) bool {
			for ; more && (upTo == nil || s.compare(was.key, upTo.key) < 0); was, more = next() {
				if !yield(Change[K, V]{Key: was.key, Deleted: true}) {
					return false
				}
			}
			return true
		}
		for e := range entries(s.items) {
			if !gone(e) {
				return
			}
			same := false
			if more && s.compare(was.key, e.key) == 0 {
				same = was.hash == e.hash
				was, more = next()
			}
			if !same && !yield(Change[K, V]{Key: e.key, Value: e.value}) {
				return
			}
		}
		gone(nil)
	}
}

func entries[K, V any](t *tree[K, V]) iter.Seq[*entry[K, V]] {
	return func(yield func(*entry[K, V]) bool) {
		t.Ascend(func(e *entry[K, V]) bool { return yield(e) })
	}
}
