// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package modest

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestModest: nothing is changed before the first state, and then once.
func TestModest(t *testing.T) {
	all := runtime.GOMAXPROCS(2)
	t.Cleanup(func() { runtime.GOMAXPROCS(all) })
	t.Setenv("GOMAXPROCS", "")
	s := NewSink()
	require.Equal(t, 2, runtime.GOMAXPROCS(0))
	require.NoError(t, s.Sync(t.Context(), &localsink.Update{}))
	require.Equal(t, 1, runtime.GOMAXPROCS(0))

	runtime.GOMAXPROCS(2)
	require.NoError(t, s.Sync(t.Context(), &localsink.Update{}))
	require.Equal(t, 2, runtime.GOMAXPROCS(0), "somebody else's decision stays")

	t.Setenv("GOMAXPROCS", "2")
	require.NoError(t, NewSink().Sync(t.Context(), &localsink.Update{}))
	require.Equal(t, 2, runtime.GOMAXPROCS(0), "operators decide")
}

// TestRelaxTimers: each thread may be late, where the process may say so; where it may
// not, nothing happens.
func TestRelaxTimers(t *testing.T) {
	relaxTimers(filepath.Join(t.TempDir(), "nowhere"))
	relaxTimers("/proc")
	if !mayNice(t) {
		t.Skip("takes CAP_SYS_NICE")
	}
	threads, err := filepath.Glob("/proc/self/task/*")
	require.NoError(t, err)
	relaxed := 0
	for _, thread := range threads {
		// One that has ended meanwhile, or begun, does not count.
		if got, err := os.ReadFile(filepath.Join("/proc", filepath.Base(thread), "timerslack_ns")); err == nil && strings.TrimSpace(string(got)) == slack {
			relaxed++
		}
	}
	require.GreaterOrEqual(t, relaxed, len(threads)-1)
}

// capSysNice is CAP_SYS_NICE of linux/capability.h.
const capSysNice = 23

// mayNice says whether the process has CAP_SYS_NICE.
func mayNice(t *testing.T) bool {
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
