// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package tuning

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// firstHeap is the size of the heap, in bytes, at which garbage is collected during the
	// first sync. With a growth in proportion to a live heap that grows itself, there would be
	// 60 collections instead of 10 (docs/performance.md).
	firstHeap = 48 << 20
	// smallestHeap is the size of the heap at which the runtime collects garbage for the first
	// time, if the growth is 100 %.
	smallestHeap = 4 << 20
	// firstGrowth is the smallest growth during the first sync. It differs from heapGrowth, which
	// so ends the adjustment in any case.
	firstGrowth = heapGrowth + 1
)

// BeforeFirstSync makes the garbage collector run rarely while the first state is received and
// applied: whenever the heap reaches 48 MB or has grown by some 40 %, whichever is more. It also unmaps
// the pages of the program's file as [ReturnMemory] does: most were used by the start of the
// process alone. Call it when the process starts. It ends with [AfterFirstSync] and with any other change of the growth.
// An operator that sets GOGC keeps that value.
//
// The setting is that of the whole process.
func BeforeFirstSync() {
	if os.Getenv("GOGC") != "" {
		return
	}
	g := newHeapGoal(100 * firstHeap / smallestHeap)
	debug.SetGCPercent(g.growth)
	releaseProgram()
	afterEachCollection(g.collected)
}

// A heapGoal adjusts the growth of the heap after each collection.
type heapGoal struct {
	growth int // percentage that was set last
	live   []metrics.Sample
}

func newHeapGoal(growth int) *heapGoal {
	return &heapGoal{growth: growth, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
}

// collected sets the growth for the next collection and unmaps the program's file, unless the
// growth has been changed by something else.
func (g *heapGoal) collected() bool {
	metrics.Read(g.live)
	next := growthTo(firstHeap, g.live[0].Value.Uint64())
	if current := debug.SetGCPercent(next); current != g.growth {
		debug.SetGCPercent(current)
		return false
	}
	g.growth = next
	releaseProgram()
	return true
}

// afterEachCollection calls f after each garbage collection, until f returns false. f must not
// block: it runs where the runtime calls all finalizers.
func afterEachCollection(f func() bool) {
	runtime.SetFinalizer(&sentinel{f}, (*sentinel).collected)
}

// A sentinel is garbage, so that its finalizer runs after the next collection. The runtime has no
// other call after a collection.
type sentinel struct{ f func() bool }

func (s *sentinel) collected() {
	if s.f() {
		runtime.SetFinalizer(s, (*sentinel).collected)
	}
}

// growthTo returns by how many percent a live heap may grow: to a size, and at least by
// firstGrowth.
func growthTo(size, live uint64) int {
	if live == 0 || live >= size {
		return firstGrowth
	}
	return max(firstGrowth, int(100*(size-live)/live))
}
