// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/diffstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func set(s *store, pairs ...int) *snapshot {
	return s.Update(func(tx *tx) {
		for i := 0; i < len(pairs); i += 2 {
			tx.Set(pairs[i], pairs[i+1])
		}
	})
}

func del(s *store, keys ...int) *snapshot {
	return s.Update(func(tx *tx) {
		for _, key := range keys {
			tx.Delete(key)
		}
	})
}

func values(s *snapshot) map[int]int { return maps.Collect(s.All()) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestEqualWriteIsNotAChange(t *testing.T) {
	s := newStore()
	before := set(s, 1, 10, 2, 20)
	for name, fn := range map[string]func(tx *tx){
		"no operation":         func(*tx) {},
		"set an equal value":   func(tx *tx) { require.False(t, tx.Set(1, 10)) },
		"delete an absent key": func(tx *tx) { require.False(t, tx.Delete(3)) },
		"only reads": func(tx *tx) {
			v, ok := tx.Get(1)
			require.True(t, ok)
			require.Equal(t, 10, v)
			_, ok = tx.Get(3)
			require.False(t, ok)
		},
	} {
		require.Same(t, before, s.Update(fn), name)
		require.False(t, isClosed(before.Newer()), name)
	}
	after := set(s, 1, 11)
	require.True(t, isClosed(before.Newer()))
	require.False(t, isClosed(after.Newer()))
	require.Equal(t, before.Revision()+1, after.Revision())
}

func TestRevisionCountsChangedKeys(t *testing.T) {
	s := newStore()
	require.EqualValues(t, 0, s.Snapshot().Revision())
	require.EqualValues(t, 3, set(s, 1, 1, 2, 2, 3, 3).Revision())
	require.EqualValues(t, 5, del(s, 1, 2, 9).Revision())
}

func TestTransactionIsAtomic(t *testing.T) {
	s := newStore()
	set(s, 1, 1)
	s.Update(func(tx *tx) {
		tx.Set(2, 2)
		tx.Delete(1)
		require.Equal(t, map[int]int{1: 1}, values(s.Snapshot()), "a snapshot within a transaction is the one before it")
		var seen []int
		tx.Ascend(0, func(k, _ int) bool { seen = append(seen, k); return true })
		require.Equal(t, []int{2}, seen, "a transaction reads its own writes")
	})
	require.Equal(t, map[int]int{2: 2}, values(s.Snapshot()))
}

func TestSnapshotsAreImmutable(t *testing.T) {
	s := newStore()
	var snaps []*snapshot
	var want []map[int]int
	for i := range 200 {
		s.Update(func(tx *tx) {
			tx.Set(i, i)
			tx.Set(i/2, -i)
			tx.Delete(i / 3)
		})
		snaps = append(snaps, s.Snapshot())
		want = append(want, values(s.Snapshot()))
	}
	for i, snap := range snaps {
		require.Equal(t, want[i], values(snap), i)
		require.Equal(t, len(want[i]), snap.Len())
	}
}

func TestKeysAreOrdered(t *testing.T) {
	s := newStore()
	set(s, 5, 0, 1, 0, 9, 0, 3, 0)
	keys := func(seq iter.Seq2[int, int]) (keys []int) {
		for k := range seq {
			keys = append(keys, k)
		}
		return keys
	}
	require.Equal(t, []int{1, 3, 5, 9}, keys(s.Snapshot().All()))
	require.Equal(t, []int{3, 5, 9}, keys(s.Snapshot().From(3)))
	require.Equal(t, []int{5, 9}, keys(s.Snapshot().From(4)))
	require.Empty(t, keys(s.Snapshot().From(10)))
}

func TestDiffIsOrderedByRevision(t *testing.T) {
	s := newStore()
	set(s, 1, 10, 2, 20, 3, 30)
	old := s.Snapshot()
	deleted := func(key int) change { return change{Key: key, Deleted: true} }
	for _, c := range []struct {
		name string
		do   func()
		want []change
	}{
		{"no change", func() {}, nil},
		{"one change", func() { set(s, 2, 21) }, []change{{Key: 2, Value: 21}}},
		{"a second change of a key replaces the first", func() { set(s, 2, 22) }, []change{{Key: 2, Value: 22}}},
		{"a second key comes after the first", func() { set(s, 1, 11) }, []change{{Key: 2, Value: 22}, {Key: 1, Value: 11}}},
		{"a deletion moves its key to the end", func() { del(s, 2) }, []change{{Key: 1, Value: 11}, deleted(2)}},
		{"a key that is added and deleted is left out", func() { set(s, 4, 40); del(s, 4) }, []change{{Key: 1, Value: 11}, deleted(2)}},
		{"a key that is set again moves to the end", func() { set(s, 3, 31); set(s, 2, 23) }, []change{{Key: 1, Value: 11}, {Key: 3, Value: 31}, {Key: 2, Value: 23}}},
	} {
		c.do()
		require.True(t, s.Snapshot().HasLogSince(old), c.name)
		changes := s.Snapshot().Diff(old)
		require.Equal(t, c.want, slices.Collect(changes), c.name)
		require.Equal(t, slices.Collect(changes), slices.Collect(changes), "an iterator can be used again")
	}
}

func TestDiffFromNewerSnapshotIsEmpty(t *testing.T) {
	s := newStore()
	older := set(s, 1, 1)
	require.Empty(t, slices.Collect(older.Diff(set(s, 2, 2))))
}

func TestCompactionLimitsTheLog(t *testing.T) {
	s := newStore()
	r := s.Reader()
	defer r.Close()
	beforeDelete := set(s, 1, 1, 2, 2)
	afterDelete := del(s, 1)
	r.Acknowledge(afterDelete)
	current := set(s, 3, 3)
	require.False(t, current.HasLogSince(beforeDelete))
	require.True(t, current.HasLogSince(afterDelete))
	require.Equal(t, []change{{Key: 3, Value: 3}}, slices.Collect(current.Diff(afterDelete)))
	require.True(t, afterDelete.HasLogSince(beforeDelete), "compaction does not affect older snapshots")
}

// TestDiffIsNet covers Diff by the log and, after compaction, by keys.
func TestDiffIsNet(t *testing.T) {
	s := newStore()
	set(s, 1, 10, 2, 20, 3, 30, 5, 50)
	old := s.Snapshot()
	set(s, 1, 11) // changed
	set(s, 2, 99) // changed and changed back
	set(s, 2, 20)
	del(s, 3) // deleted
	set(s, 4, 40)
	del(s, 4) // added and deleted
	del(s, 5) // deleted and added again
	set(s, 5, 50)
	set(s, 6, 60) // added

	want := []change{{Key: 1, Value: 11}, {Key: 3, Deleted: true}, {Key: 6, Value: 60}}
	require.Equal(t, want, slices.Collect(s.Snapshot().Diff(old)))
	require.Empty(t, slices.Collect(s.Snapshot().Diff(s.Snapshot())))

	r := s.Reader()
	defer r.Close()
	r.Acknowledge(s.Snapshot())
	set(s, 7, 70)
	require.False(t, s.Snapshot().HasLogSince(old))
	want = append(want, change{Key: 7, Value: 70})
	require.Equal(t, want, slices.Collect(s.Snapshot().Diff(old)), "the same after compaction")
}

// TestIteratorsStopEarly breaks out of each iterator at every position. goleak proves that
// no coroutine is left.
func TestIteratorsStopEarly(t *testing.T) {
	s := newStore()
	old := set(s, 1, 1, 2, 2, 3, 3, 8, 8)
	s.Update(func(tx *tx) {
		tx.Delete(1)
		tx.Delete(8)
		tx.Set(2, 0)
		tx.Set(5, 5)
	})
	require.True(t, s.Snapshot().HasLogSince(old))
	pairs := func(seq iter.Seq2[int, int]) iter.Seq[change] {
		return func(yield func(change) bool) { seq(func(k, v int) bool { return yield(change{Key: k, Value: v}) }) }
	}
	all := map[string]iter.Seq[change]{
		"All": pairs(s.Snapshot().All()), "From": pairs(s.Snapshot().From(1)),
		"Diff by the log": s.Snapshot().Diff(old),
	}
	r := s.Reader()
	defer r.Close()
	r.Acknowledge(s.Snapshot())
	compacted := set(s, 6, 6)
	require.False(t, compacted.HasLogSince(old))
	all["Diff by keys"] = compacted.Diff(old)
	for name, seq := range all {
		whole := slices.Collect(seq)
		for n := range whole {
			var got []change
			for c := range seq {
				got = append(got, c)
				if len(got) == n+1 {
					break
				}
			}
			require.Equal(t, whole[:n+1], got, name)
		}
	}
}

func TestReaderYieldsChangesUntilAcknowledged(t *testing.T) {
	s := newStore()
	set(s, 1, 1, 2, 2)
	r := s.Reader()
	require.Zero(t, r.Acknowledged().Len())
	require.True(t, isClosed(r.Acknowledged().Newer()), "the empty snapshot is outdated")

	snap, changes := r.Pending()
	require.Equal(t, []change{{Key: 1, Value: 1}, {Key: 2, Value: 2}}, slices.Collect(changes), "all keys are pending at first")
	set(s, 3, 3)
	_, changes = r.Pending()
	require.Len(t, slices.Collect(changes), 3, "unacknowledged changes are yielded again")

	r.Acknowledge(snap)
	require.Same(t, snap, r.Acknowledged())
	_, changes = r.Pending()
	require.Equal(t, []change{{Key: 3, Value: 3}}, slices.Collect(changes), "only changes after the acknowledged snapshot")

	now := del(s, 1, 3)
	_, changes = r.Pending()
	require.Equal(t, []change{{Key: 1, Deleted: true}}, slices.Collect(changes))
	r.Acknowledge(now)
	_, changes = r.Pending()
	require.Empty(t, slices.Collect(changes))

	r.Acknowledge(snap)
	_, changes = r.Pending()
	require.Equal(t, []change{{Key: 1, Deleted: true}}, slices.Collect(changes), "an older snapshot can be acknowledged")
	r.Close()
	r.Close()
}

func TestReaderOfEmptyStoreHasNoChanges(t *testing.T) {
	s := newStore()
	r := s.Reader()
	defer r.Close()
	snap, changes := r.Pending()
	require.Empty(t, slices.Collect(changes))
	require.False(t, isClosed(snap.Newer()))
	set(s, 1, 1)
	require.True(t, isClosed(snap.Newer()))
}

// TestTombstonesAreBounded checks the bound for each behaviour of readers.
func TestTombstonesAreBounded(t *testing.T) {
	churn := func(s *store, rounds int, each func()) (highest int) {
		for i := range rounds {
			set(s, i, i)
			del(s, i)
			each()
			n := s.Tombstones()
			require.GreaterOrEqual(t, n, 0, "indexes are inconsistent")
			highest = max(highest, n)
		}
		return highest
	}
	const rounds = 4 * diffstore.MinTombstones

	t.Run("no reader", func(t *testing.T) {
		require.Equal(t, diffstore.MinTombstones, churn(newStore(), rounds, func() {}))
	})
	t.Run("a reader that never acknowledges", func(t *testing.T) {
		s := newStore()
		set(s, -1, -1)
		r := s.Reader()
		defer r.Close()
		r.Acknowledge(s.Snapshot())
		require.Equal(t, diffstore.MinTombstones, churn(s, rounds, func() {}))
		del(s, -1)
		_, changes := r.Pending()
		require.Equal(t, []change{{Key: -1, Deleted: true}}, slices.Collect(changes), "the reader still gets the net changes")
	})
	t.Run("a reader that acknowledges each snapshot", func(t *testing.T) {
		s := newStore()
		r := s.Reader()
		defer r.Close()
		require.LessOrEqual(t, churn(s, rounds, func() { r.Acknowledge(s.Snapshot()) }), 2)
	})
	t.Run("an unacknowledged tombstone is kept", func(t *testing.T) {
		s := newStore()
		r := s.Reader()
		defer r.Close()
		set(s, 1, 1, 2, 2)
		r.Acknowledge(s.Snapshot())
		del(s, 1)
		set(s, 3, 3)
		require.Equal(t, 1, s.Tombstones())
		require.True(t, s.Snapshot().HasLogSince(r.Acknowledged()))
	})
	t.Run("the slowest reader deterreconstructeds the tombstones", func(t *testing.T) {
		s := newStore()
		fast, slow := s.Reader(), s.Reader()
		defer fast.Close()
		require.Equal(t, 100, churn(s, 100, func() { fast.Acknowledge(s.Snapshot()) }))
		slow.Close()
		set(s, 1, 1)
		require.Zero(t, s.Tombstones(), "a closed reader needs no tombstones")
	})
	t.Run("as many as there are keys", func(t *testing.T) {
		const items = 3 * diffstore.MinTombstones
		s := newStore()
		s.Update(func(tx *tx) {
			for i := range items {
				tx.Set(-1-i, 0)
			}
		})
		require.Equal(t, items, churn(s, 2*items, func() {}))
	})
	t.Run("a key that is set again has none", func(t *testing.T) {
		s := newStore()
		for i := range 100 {
			set(s, 1, i)
			del(s, 1)
		}
		set(s, 1, 1)
		require.Zero(t, s.Tombstones())
	})
}

// TestConcurrentReadersConverge has readers reconstruct the writer's state from pending
// changes alone.
func TestConcurrentReadersConverge(t *testing.T) {
	const keys, writes, last = 50, 3000, -1
	s := newStore()
	var wg sync.WaitGroup
	for range 4 {
		r := s.Reader()
		wg.Go(func() {
			defer r.Close()
			reconstructed := map[int]int{}
			for {
				snap, changes := r.Pending()
				for c := range changes {
					if c.Deleted {
						delete(reconstructed, c.Key)
					} else {
						reconstructed[c.Key] = c.Value
					}
				}
				if !maps.Equal(reconstructed, values(snap)) {
					t.Error("the changes do not add up to the snapshot")
					return
				}
				r.Acknowledge(snap)
				if _, done := snap.Get(last); done {
					return
				}
				<-snap.Newer()
			}
		})
	}
	wg.Go(func() {
		for i := range writes {
			s.Update(func(tx *tx) {
				tx.Set(i*7%keys, i)
				tx.Delete(i * 13 % keys)
			})
		}
		set(s, last, 0)
	})
	wg.Wait()
}

func TestConcurrentWritersLoseNoUpdate(t *testing.T) {
	s := newStore()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				s.Update(func(tx *tx) {
					n, _ := tx.Get(1)
					tx.Set(1, n+1)
				})
			}
		})
	}
	wg.Wait()
	require.Equal(t, map[int]int{1: 2000}, values(s.Snapshot()))
}
