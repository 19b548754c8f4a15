// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package tuning

import (
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAfterFirstSyncUsesOneProcessor(t *testing.T) {
	all := runtime.GOMAXPROCS(2)
	t.Cleanup(func() { runtime.GOMAXPROCS(all) })
	t.Setenv("GOMAXPROCS", "")
	AfterFirstSync()
	require.Equal(t, 1, runtime.GOMAXPROCS(0))
}

func TestOperatorSetsProcessors(t *testing.T) {
	all := runtime.GOMAXPROCS(2)
	t.Cleanup(func() { runtime.GOMAXPROCS(all) })
	t.Setenv("GOMAXPROCS", "2")
	AfterFirstSync()
	require.Equal(t, 2, runtime.GOMAXPROCS(0))
}

func TestOOMScore(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("Linux has it")
	}
	read := func() int {
		text, err := os.ReadFile("/proc/self/oom_score_adj")
		require.NoError(t, err)
		n, err := strconv.Atoi(strings.TrimSpace(string(text)))
		require.NoError(t, err)
		return n
	}
	next := min(read()+1, 1000) // a larger value needs no privilege
	require.NoError(t, OOMScore(next))
	require.Equal(t, next, read())
	require.Error(t, OOMScore(1001))
	require.Equal(t, next, read())
}

func TestServerGarbageCollection(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	t.Setenv("GOGC", "50")
	ServerGarbageCollection()
	require.Equal(t, 100, debug.SetGCPercent(100), "the operator sets it")
	t.Setenv("GOGC", "")
	ServerGarbageCollection()
	require.Equal(t, 400, debug.SetGCPercent(100))
}

// TestGarbageCollectionOfNodes checks the growth of the heap, and that an
// operator's GOGC stays.
func TestGarbageCollectionOfNodes(t *testing.T) {
	before, all := debug.SetGCPercent(100), runtime.GOMAXPROCS(0)
	t.Cleanup(func() { debug.SetGCPercent(before); runtime.GOMAXPROCS(all) })
	t.Setenv("GOGC", "50")
	BeforeFirstSync()
	AfterFirstSync()
	require.Equal(t, 100, debug.SetGCPercent(100), "the operator sets it")
	t.Setenv("GOGC", "")
	BeforeFirstSync()
	require.Equal(t, 100*firstHeap/smallestHeap, debug.SetGCPercent(100))
	garbage := make([]byte, 64<<20)
	for i := 0; i < len(garbage); i += 4096 {
		garbage[i] = 1
	}
	runtime.KeepAlive(garbage)
	garbage = nil
	AfterFirstSync()
	require.Nil(t, garbage)
	require.Equal(t, heapGrowth, debug.SetGCPercent(100))
	require.Eventually(t, func() bool {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapIdle-stats.HeapReleased < 32<<20
	}, 20*time.Second, 10*time.Millisecond, "what the first update needed is returned")
}

// TestTimersOfAllThreadsAreRelaxed also checks that a missing permission is no failure.
func TestTimersOfAllThreadsAreRelaxed(t *testing.T) {
	relaxTimers(filepath.Join(t.TempDir(), "nowhere"))
	relaxTimers("/proc")
	if !hasSysNice(t) {
		t.Skip("requires CAP_SYS_NICE")
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	require.NoError(t, err)
	relaxed := 0
	for _, thread := range threads {
		// A thread that started or ended meanwhile does not count.
		if got, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns")); err == nil && strings.TrimSpace(string(got)) == timerSlack {
			relaxed++
		}
	}
	require.GreaterOrEqual(t, relaxed, len(threads)-1)
}

// capSysNice is CAP_SYS_NICE of linux/capability.h.
const capSysNice = 23

// hasSysNice reports whether the process has CAP_SYS_NICE.
func hasSysNice(t *testing.T) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false // not Linux
	}
	_, rest, _ := strings.Cut(string(status), "\nCapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	effective, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	require.NoError(t, err)
	return effective&(1<<capSysNice) != 0
}
