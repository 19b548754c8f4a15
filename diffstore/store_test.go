// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"iter"
	"maps"
	"math"
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

func TestEqualWriteIsNoChange(t *testing.T) {
	s := newStore()
	before := set(s, 1, 10, 2, 20)
	for name, fn := range map[string]func(tx *tx){
		"nothing at all":          func(*tx) {},
		"an equal value":          func(tx *tx) { require.False(t, tx.Set(1, 10)) },
		"a key that is not there": func(tx *tx) { require.False(t, tx.Delete(3)) },
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

func TestRevisionCountsKeys(t *testing.T) {
	s := newStore()
	require.EqualValues(t, 0, s.Snapshot().Revision())
	require.EqualValues(t, 3, set(s, 1, 1, 2, 2, 3, 3).Revision())
	require.EqualValues(t, 5, del(s, 1, 2, 9).Revision())
}

func TestTransactionIsPublishedAtOnce(t *testing.T) {
	s := newStore()
	set(s, 1, 1)
	s.Update(func(tx *tx) {
		tx.Set(2, 2)
		tx.Delete(1)
		require.Equal(t, map[int]int{1: 1}, values(s.Snapshot()), "nobody sees half of it, or waits")
		var seen []int
		tx.Ascend(0, func(k, _ int) bool { seen = append(seen, k); return true })
		require.Equal(t, []int{2}, seen, "a transaction sees its own writes")
	})
	require.Equal(t, map[int]int{2: 2}, values(s.Snapshot()))
}

func TestSnapshotsAreIsolated(t *testing.T) {
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

func TestOrder(t *testing.T) {
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

func TestChanges(t *testing.T) {
	s := newStore()
	set(s, 1, 10, 2, 20, 3, 30)
	since := s.Snapshot().Revision()
	gone := func(key int) change { return change{Key: key, Deleted: true} }
	for _, c := range []struct {
		name string
		do   func()
		want []change
	}{
		{"nothing", func() {}, nil},
		{"a change", func() { set(s, 2, 21) }, []change{{Key: 2, Value: 21}}},
		{"again: only the newest counts", func() { set(s, 2, 22) }, []change{{Key: 2, Value: 22}}},
		{"another: oldest first", func() { set(s, 1, 11) }, []change{{Key: 2, Value: 22}, {Key: 1, Value: 11}}},
		{"a delete", func() { del(s, 2) }, []change{{Key: 1, Value: 11}, gone(2)}},
		{"added and deleted", func() { set(s, 4, 40); del(s, 4) }, []change{{Key: 1, Value: 11}, gone(2), gone(4)}},
		{"there again", func() { set(s, 2, 20) }, []change{{Key: 1, Value: 11}, gone(4), {Key: 2, Value: 20}}},
	} {
		c.do()
		changes, err := s.Snapshot().Changes(since)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, slices.Collect(changes), c.name)
		require.Equal(t, slices.Collect(changes), slices.Collect(changes), "an iterator can be used again")
	}
}

func TestChangesSinceTheFuture(t *testing.T) {
	s := newStore()
	snap := set(s, 1, 1)
	for _, since := range []diffstore.Revision{1, 2, math.MaxUint64} {
		changes, err := snap.Changes(since)
		require.NoError(t, err)
		require.Empty(t, slices.Collect(changes), since)
	}
}

func TestCompactedRevision(t *testing.T) {
	s := newStore()
	r := s.Reader()
	defer r.Close()
	set(s, 1, 1, 2, 2)
	del(s, 1) // revision 3
	r.Acknowledge(s.Snapshot())
	old := s.Snapshot()
	snap := set(s, 3, 3)
	_, err := snap.Changes(2)
	require.ErrorIs(t, err, diffstore.ErrCompacted)
	changes, err := snap.Changes(3)
	require.NoError(t, err)
	require.Equal(t, []change{{Key: 3, Value: 3}}, slices.Collect(changes))
	_, err = old.Changes(0)
	require.NoError(t, err, "a snapshot keeps what it remembers")
}

// TestDiffIsNet compares with what plain maps say, before compaction and after.
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
	del(s, 5) // deleted and there again
	set(s, 5, 50)
	set(s, 6, 60) // added

	want := []change{{Key: 1, Value: 11}, {Key: 3, Deleted: true}, {Key: 6, Value: 60}}
	require.Equal(t, want, slices.Collect(s.Snapshot().Diff(old)))
	require.Empty(t, slices.Collect(s.Snapshot().Diff(s.Snapshot())))

	r := s.Reader()
	defer r.Close()
	r.Acknowledge(s.Snapshot())
	set(s, 7, 70)
	_, err := s.Snapshot().Changes(old.Revision())
	require.ErrorIs(t, err, diffstore.ErrCompacted)
	want = append(want, change{Key: 7, Value: 70})
	require.Equal(t, want, slices.Collect(s.Snapshot().Diff(old)), "the same without a memory")
}

// TestStoppingEarly leaves every iterator in its middle: nothing more is yielded,
// and nothing is left behind.
func TestStoppingEarly(t *testing.T) {
	s := newStore()
	old := set(s, 1, 1, 2, 2, 3, 3, 8, 8)
	s.Update(func(tx *tx) {
		tx.Delete(1)
		tx.Delete(8)
		tx.Set(2, 0)
		tx.Set(5, 5)
	})
	changes, err := s.Snapshot().Changes(0)
	require.NoError(t, err)
	pairs := func(seq iter.Seq2[int, int]) iter.Seq[change] {
		return func(yield func(change) bool) { seq(func(k, v int) bool { return yield(change{Key: k, Value: v}) }) }
	}
	all := map[string]iter.Seq[change]{
		"All": pairs(s.Snapshot().All()), "From": pairs(s.Snapshot().From(1)),
		"Changes": changes, "Diff": s.Snapshot().Diff(old),
	}
	r := s.Reader()
	defer r.Close()
	r.Acknowledge(s.Snapshot())
	all["Diff without a memory"] = set(s, 6, 6).Diff(old)
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

func TestReader(t *testing.T) {
	s := newStore()
	set(s, 1, 1, 2, 2)
	r := s.Reader()
	require.Zero(t, r.Acknowledged().Len())
	require.True(t, isClosed(r.Acknowledged().Newer()), "there is something newer than nothing")

	snap, changes := r.Pending()
	require.Equal(t, []change{{Key: 1, Value: 1}, {Key: 2, Value: 2}}, slices.Collect(changes), "at first, everything")
	set(s, 3, 3)
	_, changes = r.Pending()
	require.Len(t, slices.Collect(changes), 3, "again, as nothing was accepted")

	r.Acknowledge(snap)
	require.Same(t, snap, r.Acknowledged())
	_, changes = r.Pending()
	require.Equal(t, []change{{Key: 3, Value: 3}}, slices.Collect(changes), "what came after the accepted one")

	now := del(s, 1, 3)
	_, changes = r.Pending()
	require.Equal(t, []change{{Key: 1, Deleted: true}}, slices.Collect(changes))
	r.Acknowledge(now)
	_, changes = r.Pending()
	require.Empty(t, slices.Collect(changes))

	r.Acknowledge(snap)
	_, changes = r.Pending()
	require.Equal(t, []change{{Key: 1, Deleted: true}}, slices.Collect(changes), "one can go back")
	r.Close()
	r.Close()
}

func TestReaderOfEmptyStore(t *testing.T) {
	s := newStore()
	r := s.Reader()
	defer r.Close()
	snap, changes := r.Pending()
	require.Empty(t, slices.Collect(changes))
	require.False(t, isClosed(snap.Newer()))
	set(s, 1, 1)
	require.True(t, isClosed(snap.Newer()))
}

// TestTombstones proves that memory is bounded whatever the readers do.
func TestTombstones(t *testing.T) {
	churn := func(s *store, rounds int, each func()) (highest int) {
		for i := range rounds {
			set(s, i, i)
			del(s, i)
			each()
			n := s.Tombstones()
			require.GreaterOrEqual(t, n, 0, "indexes disagree")
			highest = max(highest, n)
		}
		return highest
	}
	const rounds = 4 * diffstore.MinTombstones

	t.Run("no reader", func(t *testing.T) {
		require.Equal(t, diffstore.MinTombstones, churn(newStore(), rounds, func() {}))
	})
	t.Run("a stuck reader", func(t *testing.T) {
		s := newStore()
		set(s, -1, -1)
		r := s.Reader()
		defer r.Close()
		r.Acknowledge(s.Snapshot())
		require.Equal(t, diffstore.MinTombstones, churn(s, rounds, func() {}))
		del(s, -1)
		_, changes := r.Pending()
		require.Equal(t, []change{{Key: -1, Deleted: true}}, slices.Collect(changes), "and it still gets what it missed")
	})
	t.Run("a reader that advances", func(t *testing.T) {
		s := newStore()
		r := s.Reader()
		defer r.Close()
		require.LessOrEqual(t, churn(s, rounds, func() { r.Acknowledge(s.Snapshot()) }), 2)
	})
	t.Run("what a reader has not accepted is remembered", func(t *testing.T) {
		s := newStore()
		r := s.Reader()
		defer r.Close()
		set(s, 1, 1, 2, 2)
		r.Acknowledge(s.Snapshot())
		del(s, 1)
		set(s, 3, 3)
		require.Equal(t, 1, s.Tombstones())
		_, err := s.Snapshot().Changes(r.Acknowledged().Revision())
		require.NoError(t, err)
	})
	t.Run("the slowest reader counts", func(t *testing.T) {
		s := newStore()
		fast, slow := s.Reader(), s.Reader()
		defer fast.Close()
		require.Equal(t, 100, churn(s, 100, func() { fast.Acknowledge(s.Snapshot()) }))
		slow.Close()
		set(s, 1, 1)
		require.Zero(t, s.Tombstones(), "but not when it is closed")
	})
	t.Run("as many as there are items", func(t *testing.T) {
		const items = 3 * diffstore.MinTombstones
		s := newStore()
		s.Update(func(tx *tx) {
			for i := range items {
				tx.Set(-1-i, 0)
			}
		})
		require.Equal(t, items, churn(s, 2*items, func() {}))
	})
	t.Run("a key that is there again has none", func(t *testing.T) {
		s := newStore()
		for i := range 100 {
			set(s, 1, i)
			del(s, 1)
		}
		set(s, 1, 1)
		require.Zero(t, s.Tombstones())
	})
}

// TestConcurrentReaders has readers follow a writer, each of which must arrive at
// the writer's state by what is pending alone.
func TestConcurrentReaders(t *testing.T) {
	const keys, writes, last = 50, 3000, -1
	s := newStore()
	var wg sync.WaitGroup
	for range 4 {
		r := s.Reader()
		wg.Go(func() {
			defer r.Close()
			mine := map[int]int{}
			for {
				snap, changes := r.Pending()
				for c := range changes {
					if c.Deleted {
						delete(mine, c.Key)
					} else {
						mine[c.Key] = c.Value
					}
				}
				if !maps.Equal(mine, values(snap)) {
					t.Error("the differences do not add up to the snapshot")
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

// TestConcurrentWriters proves that no update is lost.
func TestConcurrentWriters(t *testing.T) {
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
