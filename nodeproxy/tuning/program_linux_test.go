// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package tuning

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fileMemory returns the resident pages of files of this process, in bytes.
func fileMemory(t testing.TB) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), "\nRssFile:")
	require.True(t, found)
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(t, err)
	return kilobytes << 10
}

// mapProgram maps all pages of the program's file, and returns the resident pages of files.
func mapProgram(t testing.TB) int {
	t.Helper()
	program, err := os.Readlink("/proc/self/exe")
	require.NoError(t, err)
	smaps, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	mappings := mappingsOf(program, string(smaps))
	require.NotEmpty(t, mappings)
	const populateRead = 22 // MADV_POPULATE_READ
	for _, m := range mappings {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, m.begin, m.size, populateRead); errno == syscall.EINVAL {
			t.Skip("Linux before 5.14 cannot map all pages at once")
		}
	}
	return fileMemory(t)
}

func TestPagesOfTheProgramAreReleased(t *testing.T) {
	require.Eventually(t, func() bool { // a collection of another test may release pages that were just mapped
		all := mapProgram(t)
		releaseProgram()
		return fileMemory(t) < all
	}, 20*time.Second, 10*time.Millisecond)
}

// TestPagesOfTheProgramAreReleasedAfterEachCollection waits for the runtime, which calls finalizers
// some time after a collection.
func TestPagesOfTheProgramAreReleasedAfterEachCollection(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	ReturnMemory()
	for range 3 {
		all := 0 // resident pages before the collection, of which that of an earlier turn may release some
		require.Eventually(t, func() bool {
			if fileMemory(t) < all {
				return true
			}
			all = mapProgram(t)
			runtime.GC()
			return false
		}, 20*time.Second, 10*time.Millisecond)
	}
}

func BenchmarkReleaseProgram(b *testing.B) {
	for b.Loop() {
		releaseProgram()
	}
}

func TestOnlyUnchangedPagesOfTheFileAreReleased(t *testing.T) {
	const smaps = `00400000-00402000 r-xp 00000000 08:01 11 /bin/kpng
Size:                  8 kB
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00402000-00403000 r--p 00002000 08:01 11 /bin/kpng
Size:                  4 kB
Anonymous:             4 kB
VmFlags: rd mr mw me
00402000-00403000 r--p 00002000 08:01 11 /bin/kpng
Size:                  4 kB
Anonymous:             0 kB
Swap:                  4 kB
VmFlags: rd mr mw me
00403000-00404000 rw-p 00003000 08:01 11 /bin/kpng
Anonymous:             0 kB
00404000-00406000 rw-p 00000000 00:00 0
Anonymous:             0 kB
00406000-00407000 r--p 00000000 08:01 12 /lib/libc.so
Anonymous:             0 kB
00407000-0040a000 r--p 00004000 08:01 11 /bin/kpng
Size:                 12 kB
Anonymous:             0 kB
Swap:                  0 kB
SwapPss:               0 kB
00500000-00501000 r--p 00000000 00:00 0
Anonymous:             0 kB
`
	require.Equal(t, []mapping{{0x400000, 0x2000}, {0x407000, 0x3000}}, mappingsOf("/bin/kpng", smaps))
	require.Empty(t, mappingsOf("/bin/other", smaps))
	require.Empty(t, mappingsOf("/bin/kpng", "0-0 r-xp 0 0:0 1 /bin/kpng\nAnonymous: 0 kB\nx-y r-xp 0 0:0 1 /bin/kpng\nAnonymous: 0 kB\n"))
}
