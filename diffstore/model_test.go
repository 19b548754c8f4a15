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

// same is a cheap require.Equal, because the models compare millions of times.
func same[T comparable](t testing.TB, want, got T, what string) {
	if want != got {
		t.Helper()
		require.Equal(t, want, got, what)
	}
}

// A script is the source of a model test's decisions: bytes from the fuzzer or from a
// seeded generator.
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

// A version is the expected content of a store at one revision, and the snapshot that must
// equal it.
type version struct {
	snap       *snapshot
	values     map[int]int
	changedAt  map[int]diffstore.Revision // the newest change of each key
	rev        diffstore.Revision
	lastDelete diffstore.Revision
}

func (m *version) clone() *version {
	c := *m
	c.values, c.changedAt = maps.Clone(m.values), maps.Clone(m.changedAt)
	return &c
}

// A storeModel applies the same operations to a store and to plain maps.
type storeModel struct {
	t            testing.TB
	store        *store
	current      *version
	kept         []*version // older versions to compare with
	readers      []*diffstore.Reader[int, int]
	acknowledged []*version // by index of readers
	empty        *version
	keys         int // keys are 0 to keys-1
}

func newStoreModel(t testing.TB, keys int) *storeModel {
	s := newStore()
	empty := &version{snap: s.Snapshot(), values: map[int]int{}, changedAt: map[int]diffstore.Revision{}}
	return &storeModel{t: t, store: s, current: empty.clone(), empty: empty, kept: []*version{empty}, keys: keys}
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
	before := m.current.snap
	revBefore := m.current.rev
	m.current.snap = m.store.Update(func(tx *tx) {
		for range n {
			m.operate(s, tx)
		}
		same(m.t, len(m.current.values), tx.Len(), "Len in a transaction")
	})
	if m.current.rev == revBefore {
		same(m.t, before, m.current.snap, "a new snapshot without a change")
	} else {
		<-before.Newer()
	}
	same(m.t, m.store.Snapshot(), m.current.snap, "snapshot")
	same(m.t, m.current.rev, m.current.snap.Revision(), "Revision")
	tombstones := m.store.Tombstones()
	same(m.t, true, tombstones >= 0, "indexes are consistent")
	same(m.t, true, tombstones <= max(diffstore.MinTombstones, len(m.current.values)), "number of tombstones is bounded")
}

func (m *storeModel) operate(s *script, tx *tx) {
	key := s.next(256) * 7 % m.keys
	old, existed := m.current.values[key]
	got, ok := tx.Get(key)
	same(m.t, existed, ok, "Get in a transaction")
	same(m.t, old, got, "Get in a transaction")
	if s.next(3) == 0 {
		same(m.t, existed, tx.Delete(key), "Delete")
		if existed {
			m.current.rev++
			m.current.lastDelete = m.current.rev
			m.current.changedAt[key] = m.current.rev
			delete(m.current.values, key)
		}
		return
	}
	value := s.next(3)
	changed := !existed || old != value
	same(m.t, changed, tx.Set(key, value), "Set")
	if changed {
		m.current.rev++
		m.current.changedAt[key] = m.current.rev
		m.current.values[key] = value
	}
}

// keep adds the current version to the kept ones, in place of one of them if there are six.
func (m *storeModel) keep(s *script) {
	if len(m.kept) < 6 {
		m.kept = append(m.kept, m.current.clone())
		return
	}
	m.kept[s.next(len(m.kept))] = m.current.clone()
}

// compare checks Diff between two kept versions, and the order of its changes.
func (m *storeModel) compare(s *script) {
	a, b := m.kept[s.next(len(m.kept))], m.kept[s.next(len(m.kept))]
	if a.rev > b.rev {
		a, b = b, a
	}
	checkDiff(m.t, a.values, b.values, b.snap.Diff(a.snap))

	if !b.snap.HasLogSince(a.snap) {
		require.Greater(m.t, b.lastDelete, a.rev, "compacted without a deletion")
		last := -1
		for c := range b.snap.Diff(a.snap) {
			same(m.t, true, c.Key > last, "changes are in key order")
			last = c.Key
		}
		return
	}
	last := a.rev
	for c := range b.snap.Diff(a.snap) {
		rev := b.changedAt[c.Key]
		same(m.t, true, rev > last, "changes are new and in revision order")
		last = rev
	}
}

func (m *storeModel) openOrCloseReader(s *script) {
	if len(m.readers) < 3 {
		m.readers = append(m.readers, m.store.Reader())
		m.acknowledged = append(m.acknowledged, m.empty)
		return
	}
	if s.next(4) == 0 {
		i := s.next(len(m.readers))
		m.readers[i].Close()
		m.readers = slices.Delete(m.readers, i, i+1)
		m.acknowledged = slices.Delete(m.acknowledged, i, i+1)
	}
}

// pending checks a reader and lets it acknowledge the current version, a kept one, or none.
func (m *storeModel) pending(s *script) {
	if len(m.readers) == 0 {
		return
	}
	i := s.next(len(m.readers))
	snap, changes := m.readers[i].Pending()
	same(m.t, m.current.snap, snap, "pending snapshot")
	checkDiff(m.t, m.acknowledged[i].values, m.current.values, changes)
	switch s.next(4) {
	case 0:
		m.acknowledged[i] = m.kept[s.next(len(m.kept))]
	case 1, 2:
		m.acknowledged[i] = m.current.clone()
	}
	m.readers[i].Acknowledge(m.acknowledged[i].snap)
}

func (m *storeModel) checkSnapshot(at *version) {
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

// checkDiff checks that changes are exactly the differences between two states, each key
// once.
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
		same(t, false, twice, "a key is yielded twice")
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
		for _, at := range append(m.kept, m.current) {
			m.checkSnapshot(at)
		}
	})
}

// A fillModel applies the same operations to a Fill and to plain maps.
type fillModel struct {
	t         testing.TB
	fill      *diffstore.Fill[int, int]
	present   map[int]int  // includes keys that Clear has removed, until changes
	set       map[int]bool // keys set since Clear; nil without a Clear since changes
	desired   map[int]int
	committed map[int]int
}

func newFillModel(t testing.TB) *fillModel {
	return &fillModel{
		t:         t,
		fill:      diffstore.NewFill(cmp.Compare[int], hashInt),
		present:   map[int]int{},
		desired:   map[int]int{},
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
		m.committed = m.desired
	default:
		key, value := s.next(keys), s.next(3)
		m.fill.Set(key, value)
		m.present[key] = value
		if m.set != nil {
			m.set[key] = true
		}
	}
	same(m.t, len(m.desired), m.fill.Desired().Len(), "Desired")
}

func (m *fillModel) changes() {
	changes := m.fill.Changes()
	if m.set != nil {
		maps.DeleteFunc(m.present, func(key, _ int) bool { return !m.set[key] })
		m.set = nil
	}
	m.desired = maps.Clone(m.present)
	checkDiff(m.t, m.committed, m.desired, changes)
	checkDiff(m.t, m.committed, m.desired, m.fill.Changes())
	same(m.t, true, maps.Equal(m.desired, maps.Collect(m.fill.Desired().All())), "Desired")
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

// TestModelsOverManySteps runs the models for longer than the fuzzer's inputs allow.
func TestModelsOverManySteps(t *testing.T) {
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

// TestModelBeyondMinTombstones deletes more keys than MinTombstones, so that the store
// compacts.
func TestModelBeyondMinTombstones(t *testing.T) {
	const keys = 3 * diffstore.MinTombstones
	m := newStoreModel(t, keys)
	m.readers = append(m.readers, m.store.Reader(), m.store.Reader())
	m.acknowledged = append(m.acknowledged, m.empty, m.empty)
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
		compacted = compacted || !m.current.snap.HasLogSince(m.empty.snap)
	}
	require.True(t, compacted, "the test never compacts")
}

// bulk sets the keys between two numbers to value in one transaction; 0 deletes them.
func (m *storeModel) bulk(from, to, value int) {
	from, to = min(from, to), max(from, to)
	m.current.snap = m.store.Update(func(tx *tx) {
		for key := from; key < to; key++ {
			old, existed := m.current.values[key]
			if value == 0 {
				if tx.Delete(key) {
					m.current.rev++
					m.current.changedAt[key], m.current.lastDelete = m.current.rev, m.current.rev
					delete(m.current.values, key)
				}
				continue
			}
			tx.Set(key, value)
			if !existed || old != value {
				m.current.rev++
				m.current.changedAt[key] = m.current.rev
				m.current.values[key] = value
			}
		}
	})
	require.Equal(m.t, m.current.rev, m.current.snap.Revision())
	require.GreaterOrEqual(m.t, m.store.Tombstones(), 0, "indexes are inconsistent")
}
