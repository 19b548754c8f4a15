// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package tuning

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// releaseProgram unmaps the pages of the program's file. A third of them are used by the start
// alone; the kernel maps the others again when they are used, from its cache.
func releaseProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range mappingsOf(program, string(text)) {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, m.begin, m.size, syscall.MADV_DONTNEED)
	}
}

// A mapping is a part of the address space.
type mapping struct{ begin, size uintptr }

// mappingsOf returns the mappings of a file in the text of /proc/self/smaps that are not writable
// and have no page that differs from the file, such as one that a dynamic linker or a debugger has
// written: that would be lost. Such a page is in memory (Anonymous) or in swap.
func mappingsOf(file, smaps string) (all []mapping) {
	var current mapping
	ofFile, unchanged := false, false
	end := func() {
		if ofFile && unchanged {
			all = append(all, current)
		}
		ofFile, unchanged = false, false
	}
	for line := range strings.Lines(smaps) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 5 && !strings.HasSuffix(f[0], ":"): // the first line of a mapping
			end()
			begin, size, ok := addresses(f[0])
			current, ofFile = mapping{begin, size}, ok && len(f) == 6 && f[5] == file && strings.HasPrefix(f[1], "r-")
		case len(f) == 3 && f[0] == "Anonymous:":
			unchanged = f[1] == "0"
		case len(f) == 3 && f[0] == "Swap:": // absent if the kernel has no swap; follows Anonymous
			unchanged = unchanged && f[1] == "0"
		}
	}
	end()
	return all
}

// addresses parses the begin and the end of a mapping.
func addresses(text string) (begin, size uintptr, ok bool) {
	first, last, _ := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(first, 16, strconv.IntSize)
	b, errB := strconv.ParseUint(last, 16, strconv.IntSize)
	return uintptr(a), uintptr(b - a), errA == nil && errB == nil && b > a
}
