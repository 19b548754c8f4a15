// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import "iter"

// A Fill is for a caller that always knows the whole wanted state: it says
// everything, and gets the difference. A round is [Fill.Clear], a [Fill.Set] for
// each key, and [Fill.Changes]; what differs from the last [Fill.Commit] comes
// again, round after round, until it is committed. One goroutine may use a fill at
// a time.
//
// A caller that knows what changed needs no new round: Set and Delete alone cost
// one change each, whatever the number of keys.
type Fill[K, V any] struct {
	tx     Tx[K, V] // of a store of its own: nobody else writes it
	reader *Reader[K, V]
	last   *Snapshot[K, V] // what Changes was about
	round  uint64          // kept in each entry that the round has set
	set    int             // keys that have round; outside of a round, all
}

// NewFill returns an empty fill; the arguments are those of [NewTracker].
func NewFill[K, V any](compare func(a, b K) int, hash func(*Hash, V)) *Fill[K, V] {
	s := New(compare, hash)
	// Entries are born with round 0, which must not look like the present one.
	return &Fill[K, V]{tx: Tx[K, V]{s}, reader: s.Reader(), last: s.empty, round: 1}
}

// Clear begins a round: what is not set until Changes is deleted.
func (f *Fill[K, V]) Clear() {
	f.round++
	f.set = 0
}

// Set gives key a value.
func (f *Fill[K, V]) Set(key K, value V) {
	e, _ := f.tx.set(key, value)
	if e.round != f.round {
		e.round = f.round
		f.set++
	}
}

// Delete removes key.
func (f *Fill[K, V]) Delete(key K) {
	if e, ok := f.tx.delete(key); ok && e.round == f.round {
		f.set--
	}
}

// Changes ends the round and yields the net difference from what was committed,
// each key once. It may be called again, with the same result.
func (f *Fill[K, V]) Changes() iter.Seq[Change[K, V]] {
	f.last = f.tx.s.Update(func(tx *Tx[K, V]) {
		if f.set != tx.Len() {
			tx.sweep(f.round)
		}
	})
	return f.last.Diff(f.reader.Acknowledged())
}

// Commit declares what the last call of Changes yielded applied.
func (f *Fill[K, V]) Commit() { f.reader.Acknowledge(f.last) }

// Desired returns the state of the last call of Changes, or the empty state.
func (f *Fill[K, V]) Desired() *Snapshot[K, V] { return f.last }

// sweep deletes what round has not set.
func (tx *Tx[K, V]) sweep(round uint64) {
	var absent []*entry[K, V]
	tx.s.items.Ascend(func(e *entry[K, V]) bool {
		if e.round != round {
			absent = append(absent, e)
		}
		return true
	})
	for _, e := range absent {
		tx.delete(e.key)
	}
}
