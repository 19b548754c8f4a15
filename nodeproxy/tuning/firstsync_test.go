// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package tuning

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHeapGrowsToASizeAndAtLeastInProportion(t *testing.T) {
	for live, want := range map[uint64]int{
		0: firstGrowth, 1 << 20: 4700, 12 << 20: 300, 24 << 20: 100, 40 << 20: firstGrowth, 48 << 20: firstGrowth, 1 << 40: firstGrowth,
	} {
		require.Equal(t, want, growthTo(48<<20, live), live)
	}
}

// TestGrowthIsAdjustedUntilSomethingElseChangesIt calls what the runtime calls after each
// collection.
func TestGrowthIsAdjustedUntilSomethingElseChangesIt(t *testing.T) {
	before := debug.SetGCPercent(1000)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	kept := make([]byte, 12<<20)
	runtime.GC()
	g := newHeapGoal(1000)
	require.True(t, g.collected())
	require.Equal(t, growthTo(firstHeap, g.live[0].Value.Uint64()), g.growth)
	require.Equal(t, g.growth, debug.SetGCPercent(77))
	require.Less(t, g.growth, 300)
	require.False(t, g.collected())
	require.Equal(t, 77, debug.SetGCPercent(77))
	runtime.KeepAlive(kept)
}

// TestRuntimeAdjustsGrowth collects garbage until the runtime has called the finalizer, which
// it does some time after a collection.
func TestRuntimeAdjustsGrowth(t *testing.T) {
	t.Setenv("GOGC", "")
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	gogc := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	current := func() int {
		metrics.Read(gogc)
		return int(gogc[0].Value.Uint64())
	}
	BeforeFirstSync()
	for size, largest := range map[int]int{16 << 20: 300, 64 << 20: firstGrowth} {
		kept := make([]byte, size)
		require.Eventually(t, func() bool { runtime.GC(); return current() <= largest }, 20*time.Second, time.Millisecond)
		runtime.KeepAlive(kept)
	}
	debug.SetGCPercent(100)
}

// TestFirstSyncEnds checks that the growth after the first sync stays, also with a live heap that
// has led to the smallest growth before and is smaller now.
func TestFirstSyncEnds(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	kept := make([]byte, firstHeap)
	runtime.GC()
	g := newHeapGoal(debug.SetGCPercent(100))
	debug.SetGCPercent(g.growth)
	require.True(t, g.collected())
	require.Equal(t, firstGrowth, g.growth)
	runtime.KeepAlive(kept)
	debug.SetGCPercent(heapGrowth)
	runtime.GC()
	require.False(t, g.collected())
	require.Equal(t, heapGrowth, debug.SetGCPercent(100))
}
