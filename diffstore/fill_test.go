// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore_test

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/diffstore"
)

type fill = diffstore.Fill[int, int]

// round says everything: pairs of key and value.
func round(f *fill, pairs ...int) {
	f.Clear()
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
}

func TestFill(t *testing.T) {
	gone := func(key int) change { return change{Key: key, Deleted: true} }
	at := func(key, value int) change { return change{Key: key, Value: value} }
	// Each step begins where 1:10 and 2:20 are committed.
	for _, c := range []struct {
		name   string
		do     func(f *fill)
		want   []change
		wanted map[int]int
	}{
		{"the same", func(f *fill) { round(f, 2, 20, 1, 10) }, nil, map[int]int{1: 10, 2: 20}},
		{"the same twice", func(f *fill) { round(f, 1, 10, 2, 20, 1, 10) }, nil, map[int]int{1: 10, 2: 20}},
		{"nothing", func(f *fill) { round(f) }, []change{gone(1), gone(2)}, map[int]int{}},
		{"one less", func(f *fill) { round(f, 2, 20) }, []change{gone(1)}, map[int]int{2: 20}},
		{"one more", func(f *fill) { round(f, 1, 10, 2, 20, 3, 30) }, []change{at(3, 30)}, map[int]int{1: 10, 2: 20, 3: 30}},
		{"one for another", func(f *fill) { round(f, 1, 10, 3, 30) }, []change{at(3, 30), gone(2)}, map[int]int{1: 10, 3: 30}},
		{"another value", func(f *fill) { round(f, 1, 11, 2, 20) }, []change{at(1, 11)}, map[int]int{1: 11, 2: 20}},
		{"the last value counts", func(f *fill) { round(f, 1, 11, 2, 20, 1, 12) }, []change{at(1, 12)}, map[int]int{1: 12, 2: 20}},
		{"back to the old value", func(f *fill) { round(f, 1, 11, 2, 20, 1, 10) }, nil, map[int]int{1: 10, 2: 20}},
		{"set and deleted", func(f *fill) { round(f, 1, 10, 2, 20); f.Delete(1) }, []change{gone(1)}, map[int]int{2: 20}},
		{"deleted and set", func(f *fill) { f.Clear(); f.Delete(1); f.Set(1, 10); f.Set(2, 20) }, nil, map[int]int{1: 10, 2: 20}},
		{"new, set and deleted", func(f *fill) { round(f, 1, 10, 2, 20, 3, 30); f.Delete(3) }, nil, map[int]int{1: 10, 2: 20}},
		{"a new round forgets the one before", func(f *fill) { round(f, 3, 30); round(f, 1, 10, 2, 20) }, nil, map[int]int{1: 10, 2: 20}},
		{"no round, a value", func(f *fill) { f.Set(1, 11) }, []change{at(1, 11)}, map[int]int{1: 11, 2: 20}},
		{"no round, a delete", func(f *fill) { f.Delete(1); f.Delete(9) }, []change{gone(1)}, map[int]int{2: 20}},
		{"no round, nothing", func(*fill) {}, nil, map[int]int{1: 10, 2: 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := diffstore.NewFill(cmp.Compare[int], hashInt)
			round(f, 1, 10, 2, 20)
			require.Len(t, slices.Collect(f.Changes()), 2)
			f.Commit()

			c.do(f)
			require.Equal(t, c.want, slices.Collect(f.Changes()))
			require.Equal(t, c.wanted, maps.Collect(f.Desired().All()))
			require.Equal(t, c.want, slices.Collect(f.Changes()), "again, as nothing was committed")

			f.Commit()
			require.Empty(t, slices.Collect(f.Changes()), "nothing, as all was committed")
			require.Equal(t, c.wanted, maps.Collect(f.Desired().All()))
		})
	}
}

func TestFillCommitsWhatChangesYielded(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	f.Commit() // nothing yet, so nothing happens
	require.Zero(t, f.Desired().Len())
	round(f, 1, 10)
	changes := f.Changes()
	f.Set(2, 20)
	require.Equal(t, map[int]int{1: 10}, maps.Collect(f.Desired().All()))
	f.Commit()
	require.Equal(t, []change{{Key: 1, Value: 10}}, slices.Collect(changes), "an iterator stays what it was")
	require.Equal(t, []change{{Key: 2, Value: 20}}, slices.Collect(f.Changes()))
}

func TestDifferenceThatGoesAway(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	round(f, 1, 10)
	f.Changes()
	f.Commit()
	round(f, 1, 11, 2, 20)
	require.Len(t, slices.Collect(f.Changes()), 2) // applying it fails
	round(f, 1, 10, 2, 20)
	require.Equal(t, []change{{Key: 2, Value: 20}}, slices.Collect(f.Changes()))
	round(f, 1, 10)
	require.Empty(t, slices.Collect(f.Changes()))
}

// TestFillThatIsNeverCommitted proves that a target that is out of order costs no
// memory.
func TestFillThatIsNeverCommitted(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	round(f, -1, 0)
	f.Changes()
	f.Commit()
	for i := range 3 * diffstore.MinTombstones {
		round(f, i, i)
		require.Len(t, slices.Collect(f.Changes()), 2)
	}
	require.LessOrEqual(t, f.Tombstones(), diffstore.MinTombstones)
}

func TestFillForgetsWhatIsCommitted(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	for i := range 100 {
		round(f, i, i)
		f.Changes()
		f.Commit()
	}
	require.LessOrEqual(t, f.Tombstones(), 1)
}

// TestWantedIsReadDuringRounds: a snapshot may be read by anybody while the fill
// goes on.
func TestWantedIsReadDuringRounds(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	var wg sync.WaitGroup
	for i := range 100 {
		round(f, 1, 10, 2, i)
		changes, wanted := f.Changes(), f.Desired()
		f.Commit()
		wg.Go(func() {
			if !maps.Equal(map[int]int{1: 10, 2: i}, maps.Collect(wanted.All())) {
				t.Error("a snapshot has changed")
			}
			for range changes {
			}
		})
	}
	wg.Wait()
}
