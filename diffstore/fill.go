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
	store  *Store[K, V]
	reader *Reader[K, V]
	round  uint64 // the current round, kept in each entry that it has set
	set    int    // keys that the current round has set
	swept  bool   // the round's absentees are gone; true outside of rounds
	last   *Snapshot[K, V]
}

// NewFill returns an empty fill; the arguments are those of [New].
func NewFill[K, V any](compare func(a, b K) int, hash func(*Hash, V)) *Fill[K, V] {
	s := New(compare, hash)
	return &Fill[K, V]{store: s, reader: s.Reader(), swept: true}
}

// Clear begins a round: what is not set until Changes is deleted.
func (f *Fill[K, V]) Clear() {
	f.round++
	f.set, f.swept = 0, false
}

// Set gives key a value.
func (f *Fill[K, V]) Set(key K, value V) {
	f.write(func(tx *Tx[K, V]) {
		e, _ := tx.set(key, value)
		if e.round != f.round {
			e.round = f.round
			f.set++
		}
	})
}

// Delete removes key.
func (f *Fill[K, V]) Delete(key K) {
	f.write(func(tx *Tx[K, V]) {
		if e, ok := tx.delete(key); ok && e.round == f.round {
			f.set--
		}
	})
}

// write changes the store without publishing: nobody reads within a round.
func (f *Fill[K, V]) write(fn func(*Tx[K, V])) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	fn(&Tx[K, V]{f.store})
}

// Changes ends the round and yields the net difference from what was committed,
// each key once. It may be called again, with the same result.
func (f *Fill[K, V]) Changes() iter.Seq[Change[K, V]] {
	f.last = f.store.Update(func(tx *Tx[K, V]) {
		if !f.swept && f.set != tx.Len() {
			tx.sweep(f.round)
		}
		f.swept = true
	})
	return f.last.Diff(f.reader.Accepted())
}

// Commit declares what the last call of Changes yielded applied.
func (f *Fill[K, V]) Commit() {
	if f.last != nil {
		f.reader.Accept(f.last)
	}
}

// Wanted returns the state of the last call of Changes, or the empty state.
func (f *Fill[K, V]) Wanted() *Snapshot[K, V] { return f.store.Snapshot() }

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
