// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"cmp"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/diffstore"
)

type (
	store    = diffstore.Store[int, int]
	tx       = diffstore.Tx[int, int]
	snapshot = diffstore.Snapshot[int, int]
	change   = diffstore.Change[int, int]
)

func hashInt(h *diffstore.Hash, v int) { h.Uint(uint64(v)) }

func newStore() *store { return diffstore.New(cmp.Compare[int], hashInt) }

// same is require.Equal without its cost, as models compare millions of times.
func same[T comparable](t testing.TB, want, got T, what string) {
	if want != got {
		t.Helper()
		require.Equal(t, want, got, what)
	}
}

// A script is the source of decisions of a model test: bytes from the fuzzer or
// from a seeded generator.
type script []byte

func (s *script) next(n int) int {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return int(b) % n
}

func randomScript(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, seed))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// A moment is what a plain map knows of a store at one revision, and the snapshot
// that must agree with it.
type moment struct {
	snap       *snapshot
	values     map[int]int
	touched    map[int]diffstore.Revision // the newest change of each key
	rev        diffstore.Revision
	lastDelete diffstore.Revision
}

func (m *moment) clone() *moment {
	c := *m
	c.values, c.touched = maps.Clone(m.values), maps.Clone(m.touched)
	return &c
}

// A storeModel runs a store and a plain map side by side.
type storeModel struct {
	t        testing.TB
	store    *store
	now      *moment
	kept     []*moment
	readers  []*diffstore.Reader[int, int]
	accepted []*moment // of each reader
	empty    *moment
	keys     int
}

func newStoreModel(t testing.TB, keys int) *storeModel {
	s := newStore()
	empty := &moment{snap: s.Snapshot(), values: map[int]int{}, touched: map[int]diffstore.Revision{}}
	return &storeModel{t: t, store: s, now: empty.clone(), empty: empty, kept: []*moment{empty}, keys: keys}
}

func (m *storeModel) step(s *script) {
	switch s.next(8) {
	case 0, 1:
		m.update(s, 1)
	case 2:
		m.update(s, 1+s.next(12))
	case 3:
		m.keep(s)
	case 4:
		m.compare(s)
	case 5:
		m.openOrCloseReader(s)
	case 6:
		m.pending(s)
	case 7:
		m.checkSnapshot(m.kept[s.next(len(m.kept))])
	}
}

// update runs a transaction of n operations.
func (m *storeModel) update(s *script, n int) {
	before := m.now.snap
	revBefore := m.now.rev
	m.now.snap = m.store.Update(func(tx *tx) {
		for range n {
			m.operate(s, tx)
		}
		same(m.t, len(m.now.values), tx.Len(), "Len in a transaction")
	})
	if m.now.rev == revBefore {
		same(m.t, before, m.now.snap, "nothing changed, yet there is a new snapshot")
	} else {
		<-before.Newer()
	}
	same(m.t, m.store.Snapshot(), m.now.snap, "snapshot")
	same(m.t, m.now.rev, m.now.snap.Revision(), "Revision")
	graves := m.store.Tombstones()
	same(m.t, true, graves >= 0, "indexes disagree")
	same(m.t, true, graves <= max(diffstore.MinTombstones, len(m.now.values)), "too many tombstones")
}

func (m *storeModel) operate(s *script, tx *tx) {
	key := s.next(256) * 7 % m.keys
	old, existed := m.now.values[key]
	got, ok := tx.Get(key)
	same(m.t, existed, ok, "Get in a transaction")
	same(m.t, old, got, "Get in a transaction")
	if s.next(3) == 0 {
		same(m.t, existed, tx.Delete(key), "Delete")
		if existed {
			m.now.rev++
			m.now.lastDelete = m.now.rev
			m.now.touched[key] = m.now.rev
			delete(m.now.values, key)
		}
		return
	}
	value := s.next(3)
	changed := !existed || old != value
	same(m.t, changed, tx.Set(key, value), "Set")
	if changed {
		m.now.rev++
		m.now.touched[key] = m.now.rev
		m.now.values[key] = value
	}
}

// keep remembers the present moment, in place of an older one when there are many.
func (m *storeModel) keep(s *script) {
	if len(m.kept) < 6 {
		m.kept = append(m.kept, m.now.clone())
		return
	}
	m.kept[s.next(len(m.kept))] = m.now.clone()
}

// compare asks what lies between two kept moments, in both ways that there are.
func (m *storeModel) compare(s *script) {
	a, b := m.kept[s.next(len(m.kept))], m.kept[s.next(len(m.kept))]
	if a.rev > b.rev {
		a, b = b, a
	}
	checkDiff(m.t, a.values, b.values, b.snap.Diff(a.snap))

	since := a.rev + diffstore.Revision(s.next(3))
	changes, err := b.snap.Changes(since)
	if err != nil {
		require.ErrorIs(m.t, err, diffstore.ErrCompacted)
		require.Greater(m.t, b.lastDelete, since, "compacted, yet nothing was deleted")
		return
	}
	var last diffstore.Revision
	seen := map[int]bool{}
	for c := range changes {
		rev := b.touched[c.Key]
		same(m.t, true, rev > max(since, last), "a key is too old or out of order")
		last = rev
		seen[c.Key] = true
		value, exists := b.values[c.Key]
		same(m.t, change{Key: c.Key, Value: value, Deleted: !exists}, c, "change")
	}
	for key, rev := range b.touched {
		same(m.t, rev > since, seen[key], "a key changed, or did not")
	}
}

func (m *storeModel) openOrCloseReader(s *script) {
	if len(m.readers) < 3 {
		m.readers = append(m.readers, m.store.Reader())
		m.accepted = append(m.accepted, m.empty)
		return
	}
	if s.next(4) == 0 {
		i := s.next(len(m.readers))
		m.readers[i].Close()
		m.readers = slices.Delete(m.readers, i, i+1)
		m.accepted = slices.Delete(m.accepted, i, i+1)
	}
}

// pending checks one reader, and lets it accept what is new, or something older.
func (m *storeModel) pending(s *script) {
	if len(m.readers) == 0 {
		return
	}
	i := s.next(len(m.readers))
	snap, changes := m.readers[i].Pending()
	same(m.t, m.now.snap, snap, "pending snapshot")
	checkDiff(m.t, m.accepted[i].values, m.now.values, changes)
	switch s.next(4) {
	case 0:
		m.accepted[i] = m.kept[s.next(len(m.kept))]
	case 1, 2:
		m.accepted[i] = m.now.clone()
	}
	m.readers[i].Acknowledge(m.accepted[i].snap)
}

func (m *storeModel) checkSnapshot(at *moment) {
	same(m.t, at.rev, at.snap.Revision(), "Revision")
	same(m.t, len(at.values), at.snap.Len(), "Len")
	keys := slices.Sorted(maps.Keys(at.values))
	i := 0
	for k, v := range at.snap.All() {
		same(m.t, keys[i], k, "key in All")
		same(m.t, at.values[k], v, "value in All")
		i++
	}
	same(m.t, len(keys), i, "length of All")
	for key := range m.keys {
		want, exists := at.values[key]
		got, ok := at.snap.Get(key)
		same(m.t, exists, ok, "Get")
		same(m.t, want, got, "Get")
	}
	i, _ = slices.BinarySearch(keys, m.keys/2)
	for k := range at.snap.From(m.keys / 2) {
		same(m.t, keys[i], k, "key in From")
		i++
	}
	same(m.t, len(keys), i, "end of From")
}

// checkDiff checks that changes lead from one state to another, each key once and
// none in vain.
func checkDiff(t testing.TB, from, to map[int]int, changes iter.Seq[change]) {
	t.Helper()
	want := map[int]change{}
	for k, v := range to {
		if old, ok := from[k]; !ok || old != v {
			want[k] = change{Key: k, Value: v}
		}
	}
	for k := range from {
		if _, ok := to[k]; !ok {
			want[k] = change{Key: k, Deleted: true}
		}
	}
	got := map[int]change{}
	for c := range changes {
		_, twice := got[c.Key]
		same(t, false, twice, "a key comes twice")
		got[c.Key] = c
	}
	if !maps.Equal(want, got) {
		require.Equal(t, want, got)
	}
}

func FuzzStore(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(randomScript(seed, 50*int(seed+1)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, s := newStoreModel(t, 12), script(b)
		for len(s) > 0 {
			m.step(&s)
		}
		for _, at := range append(m.kept, m.now) {
			m.checkSnapshot(at)
		}
	})
}

// A fillModel runs a fill and plain maps side by side.
type fillModel struct {
	t         testing.TB
	fill      *diffstore.Fill[int, int]
	present   map[int]int
	set       map[int]bool // by the present round; nil outside of one
	wanted    map[int]int
	committed map[int]int
}

func newFillModel(t testing.TB) *fillModel {
	return &fillModel{
		t:         t,
		fill:      diffstore.NewFill(cmp.Compare[int], hashInt),
		present:   map[int]int{},
		wanted:    map[int]int{},
		committed: map[int]int{},
	}
}

func (m *fillModel) step(s *script, keys int) {
	switch op := s.next(12); op {
	case 0:
		m.fill.Clear()
		m.set = map[int]bool{}
	case 1, 2:
		key := s.next(keys)
		m.fill.Delete(key)
		delete(m.present, key)
		delete(m.set, key)
	case 3, 4:
		m.changes()
	case 5:
		m.fill.Commit()
		m.committed = m.wanted
	default:
		key, value := s.next(keys), s.next(3)
		m.fill.Set(key, value)
		m.present[key] = value
		if m.set != nil {
			m.set[key] = true
		}
	}
	same(m.t, len(m.wanted), m.fill.Desired().Len(), "Wanted")
}

func (m *fillModel) changes() {
	changes := m.fill.Changes()
	if m.set != nil {
		maps.DeleteFunc(m.present, func(key, _ int) bool { return !m.set[key] })
		m.set = nil
	}
	m.wanted = maps.Clone(m.present)
	checkDiff(m.t, m.committed, m.wanted, changes)
	checkDiff(m.t, m.committed, m.wanted, m.fill.Changes())
	same(m.t, true, maps.Equal(m.wanted, maps.Collect(m.fill.Desired().All())), "Wanted")
}

func FuzzFill(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(randomScript(seed, 50*int(seed+1)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, s := newFillModel(t), script(b)
		for len(s) > 0 {
			m.step(&s, 10)
		}
		m.changes()
	})
}

// TestManySteps runs the models for longer than a fuzzer's input is.
func TestManySteps(t *testing.T) {
	store, fill := newStoreModel(t, 60), newFillModel(t)
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		b := make([]byte, 40)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		s := script(b)
		store.step(&s)
		fill.step(&s, 60)
	}
}

// TestManyDeletions is the part of the model that needs more tombstones than a
// store remembers at least.
func TestManyDeletions(t *testing.T) {
	const keys = 3 * diffstore.MinTombstones
	m := newStoreModel(t, keys)
	m.readers = append(m.readers, m.store.Reader(), m.store.Reader())
	m.accepted = append(m.accepted, m.empty, m.empty)
	rng := rand.New(rand.NewPCG(3, 4))
	compacted := false
	for range 40 {
		m.bulk(rng.IntN(keys), rng.IntN(keys), rng.IntN(3))
		b := make([]byte, 200)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		s := script(b)
		m.keep(&s)
		m.compare(&s)
		m.pending(&s)
		_, err := m.now.snap.Changes(0)
		compacted = compacted || err != nil
	}
	require.True(t, compacted, "the test does not reach what it is for")
}

// bulk writes the keys from one number to another in one transaction.
func (m *storeModel) bulk(from, to, what int) {
	from, to = min(from, to), max(from, to)
	m.now.snap = m.store.Update(func(tx *tx) {
		for key := from; key < to; key++ {
			old, existed := m.now.values[key]
			if what == 0 {
				if tx.Delete(key) {
					m.now.rev++
					m.now.touched[key], m.now.lastDelete = m.now.rev, m.now.rev
					delete(m.now.values, key)
				}
				continue
			}
			tx.Set(key, what)
			if !existed || old != what {
				m.now.rev++
				m.now.touched[key] = m.now.rev
				m.now.values[key] = what
			}
		}
	})
	require.Equal(m.t, m.now.rev, m.now.snap.Revision())
	require.GreaterOrEqual(m.t, m.store.Tombstones(), 0, "indexes disagree")
}
