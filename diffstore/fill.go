// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import "iter"

// A Fill holds the desired state of a target and computes its changes since the state that
// the target has applied. It suits a caller that renders its whole output each time:
//
//	f.Clear()              // start with an empty desired state
//	f.Set(key, value)      // for each key
//	apply(f.Changes())     // only the keys that differ from the committed state
//	f.Commit()             // if apply succeeded
//
// Changes that are not committed are part of the next Changes again.
//
// A caller that has only the changed keys need not call Clear: Set and Delete alone cost
// time proportional to the changes instead of the number of keys.
//
// One goroutine may use a Fill at a time.
type Fill[K, V any] struct {
	tx         Tx[K, V] // of a store that only this Fill writes
	reader     *Reader[K, V]
	desired    *Snapshot[K, V] // as of the last Changes
	round      uint32          // number of the current round, stored in each entry it sets; not 0
	setInRound int             // number of entries of the current round
}

// NewFill returns a Fill whose desired and committed state are empty. The arguments are
// those of [New].
func NewFill[K, V any](compare func(a, b K) int, hash func(*Hash, V)) *Fill[K, V] {
	s := New(compare, hash)
	// Rounds start at 1 because new entries have round 0.
	return &Fill[K, V]{tx: Tx[K, V]{s}, reader: s.Reader(), desired: s.empty, round: 1}
}

// Clear removes all keys from the desired state, in constant time.
func (f *Fill[K, V]) Clear() {
	f.round = max(1, f.round+1)
	f.setInRound = 0
}

// Set sets the desired value of key.
func (f *Fill[K, V]) Set(key K, value V) {
	e, _ := f.tx.set(key, value)
	if e.round != f.round {
		e.round = f.round
		f.setInRound++
	}
}

// Delete removes key from the desired state. It has no effect if there is no such key.
func (f *Fill[K, V]) Delete(key K) {
	if e, existed := f.tx.delete(key); existed && e.round == f.round {
		f.setInRound--
	}
}

// Changes yields the net changes from the committed to the desired state, each key once.
// Calling it again without other calls in between returns the same changes. The iterator
// may be used repeatedly; later calls of other methods do not affect it.
func (f *Fill[K, V]) Changes() iter.Seq[Change[K, V]] {
	f.desired = f.tx.s.Update(func(tx *Tx[K, V]) {
		if f.setInRound != tx.Len() {
			tx.deleteOtherRounds(f.round)
		}
	})
	return f.desired.Diff(f.reader.Acknowledged())
}

// Commit records that the changes of the last call of Changes have been applied. It has no
// effect before the first.
func (f *Fill[K, V]) Commit() { f.reader.Acknowledge(f.desired) }

// Desired returns the desired state as of the last call of Changes, which is empty before
// the first.
func (f *Fill[K, V]) Desired() *Snapshot[K, V] { return f.desired }

// deleteOtherRounds deletes the keys that were not set in the given round.
func (tx *Tx[K, V]) deleteOtherRounds(round uint32) {
	var stale []*entry[K, V]
	tx.s.items.Ascend(func(e *entry[K, V]) bool {
		if e.round != round {
			stale = append(stale, e)
		}
		return true
	})
	for _, e := range stale {
		tx.delete(e.key)
	}
}
