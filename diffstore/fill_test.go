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

// setAll replaces the desired state by pairs of key and value.
func setAll(f *fill, pairs ...int) {
	f.Clear()
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
}

func TestFillChangesAreNet(t *testing.T) {
	deleted := func(key int) change { return change{Key: key, Deleted: true} }
	added := func(key, value int) change { return change{Key: key, Value: value} }
	// The committed state of each case is 1:10, 2:20.
	for _, c := range []struct {
		name    string
		do      func(f *fill)
		want    []change
		desired map[int]int
	}{
		{"same keys and values", func(f *fill) { setAll(f, 2, 20, 1, 10) }, nil, map[int]int{1: 10, 2: 20}},
		{"a key set twice", func(f *fill) { setAll(f, 1, 10, 2, 20, 1, 10) }, nil, map[int]int{1: 10, 2: 20}},
		{"empty state", func(f *fill) { setAll(f) }, []change{deleted(1), deleted(2)}, map[int]int{}},
		{"one key fewer", func(f *fill) { setAll(f, 2, 20) }, []change{deleted(1)}, map[int]int{2: 20}},
		{"one key more", func(f *fill) { setAll(f, 1, 10, 2, 20, 3, 30) }, []change{added(3, 30)}, map[int]int{1: 10, 2: 20, 3: 30}},
		{"one key replaced", func(f *fill) { setAll(f, 1, 10, 3, 30) }, []change{added(3, 30), deleted(2)}, map[int]int{1: 10, 3: 30}},
		{"a changed value", func(f *fill) { setAll(f, 1, 11, 2, 20) }, []change{added(1, 11)}, map[int]int{1: 11, 2: 20}},
		{"a value changed twice", func(f *fill) { setAll(f, 1, 11, 2, 20, 1, 12) }, []change{added(1, 12)}, map[int]int{1: 12, 2: 20}},
		{"a value changed and changed back", func(f *fill) { setAll(f, 1, 11, 2, 20, 1, 10) }, nil, map[int]int{1: 10, 2: 20}},
		{"a key set and deleted", func(f *fill) { setAll(f, 1, 10, 2, 20); f.Delete(1) }, []change{deleted(1)}, map[int]int{2: 20}},
		{"a key deleted and set", func(f *fill) { f.Clear(); f.Delete(1); f.Set(1, 10); f.Set(2, 20) }, nil, map[int]int{1: 10, 2: 20}},
		{"a new key set and deleted", func(f *fill) { setAll(f, 1, 10, 2, 20, 3, 30); f.Delete(3) }, nil, map[int]int{1: 10, 2: 20}},
		{"cleared twice", func(f *fill) { setAll(f, 3, 30); setAll(f, 1, 10, 2, 20) }, nil, map[int]int{1: 10, 2: 20}},
		{"the numbers of rounds begin again", func(f *fill) { f.SkipToLastRound(); setAll(f, 1, 10, 3, 30) }, []change{added(3, 30), deleted(2)}, map[int]int{1: 10, 3: 30}},
		{"not cleared, a changed value", func(f *fill) { f.Set(1, 11) }, []change{added(1, 11)}, map[int]int{1: 11, 2: 20}},
		{"not cleared, a deletion", func(f *fill) { f.Delete(1); f.Delete(9) }, []change{deleted(1)}, map[int]int{2: 20}},
		{"not cleared, no change", func(*fill) {}, nil, map[int]int{1: 10, 2: 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := diffstore.NewFill(cmp.Compare[int], hashInt)
			setAll(f, 1, 10, 2, 20)
			require.Len(t, slices.Collect(f.Changes()), 2)
			f.Commit()

			c.do(f)
			require.Equal(t, c.want, slices.Collect(f.Changes()))
			require.Equal(t, c.desired, maps.Collect(f.Desired().All()))
			require.Equal(t, c.want, slices.Collect(f.Changes()), "uncommitted changes are yielded again")

			f.Commit()
			require.Empty(t, slices.Collect(f.Changes()), "all changes are committed")
			require.Equal(t, c.desired, maps.Collect(f.Desired().All()))
		})
	}
}

func TestFillCommitsWhatChangesReturned(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	f.Commit() // no effect before Changes
	require.Zero(t, f.Desired().Len())
	setAll(f, 1, 10)
	changes := f.Changes()
	f.Set(2, 20)
	require.Equal(t, map[int]int{1: 10}, maps.Collect(f.Desired().All()))
	f.Commit()
	require.Equal(t, []change{{Key: 1, Value: 10}}, slices.Collect(changes), "later calls do not affect an iterator")
	require.Equal(t, []change{{Key: 2, Value: 20}}, slices.Collect(f.Changes()))
}

func TestFillOmitsChangesThatWereReverted(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	setAll(f, 1, 10)
	f.Changes()
	f.Commit()
	setAll(f, 1, 11, 2, 20)
	require.Len(t, slices.Collect(f.Changes()), 2) // and is not committed
	setAll(f, 1, 10, 2, 20)
	require.Equal(t, []change{{Key: 2, Value: 20}}, slices.Collect(f.Changes()))
	setAll(f, 1, 10)
	require.Empty(t, slices.Collect(f.Changes()))
}

// TestUncommittedFillUsesBoundedMemory covers a target that rejects all changes.
func TestUncommittedFillUsesBoundedMemory(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	setAll(f, -1, 0)
	f.Changes()
	f.Commit()
	for i := range 3 * diffstore.MinTombstones {
		setAll(f, i, i)
		require.Len(t, slices.Collect(f.Changes()), 2)
	}
	require.LessOrEqual(t, f.Tombstones(), diffstore.MinTombstones)
}

func TestCommitRemovesTombstones(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	for i := range 100 {
		setAll(f, i, i)
		f.Changes()
		f.Commit()
	}
	require.LessOrEqual(t, f.Tombstones(), 1)
}

// TestDesiredIsReadableDuringRounds reads snapshots and changes concurrently with later
// rounds.
func TestDesiredIsReadableDuringRounds(t *testing.T) {
	f := diffstore.NewFill(cmp.Compare[int], hashInt)
	var wg sync.WaitGroup
	for i := range 100 {
		setAll(f, 1, 10, 2, i)
		changes, desired := f.Changes(), f.Desired()
		f.Commit()
		wg.Go(func() {
			if !maps.Equal(map[int]int{1: 10, 2: i}, maps.Collect(desired.All())) {
				t.Error("the snapshot changed")
			}
			for range changes {
			}
		})
	}
	wg.Wait()
}
