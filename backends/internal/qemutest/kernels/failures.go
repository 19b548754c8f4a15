// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
)

// maxFailureLines is the number of lines that are kept of one failed test: its last ones.
const maxFailureLines = 60

// failures collects the output of tests that fail, from what `go test -v` prints, to print it again at
// the end: thousands of lines follow in which a reader, or a log that is cut, would lose it.
type failures struct {
	current []string // output since the last test began, at most maxFailureLines
	failed  []string
}

// add takes the next line of the output.
func (f *failures) add(line string) {
	switch {
	case strings.HasPrefix(strings.TrimSpace(line), "--- FAIL: "), strings.HasPrefix(line, "panic: "):
		f.failed = append(append(f.failed, f.current...), line)
		f.current = nil
		return
	case isHeading(line):
		f.current = nil
	}
	f.current = append(f.current, line)
	if n := len(f.current); n > maxFailureLines {
		f.current = slices.Delete(f.current, 0, n-maxFailureLines)
	}
}

// isHeading reports whether a line begins the output of a test, other than a subtest, or of the next
// command of the script in the guest.
func isHeading(line string) bool {
	fields := strings.Fields(line)
	if len(fields) < 2 || fields[0] != "===" {
		return false
	}
	switch fields[1] {
	case "PAUSE", "NAME":
		return false
	case "RUN", "CONT":
		return !strings.Contains(line, "/")
	}
	return true
}

// lines returns the output of the failed tests and, if the script in the guest failed without one,
// the last lines.
func (f *failures) lines() []string {
	if len(f.failed) == 0 {
		return f.current
	}
	return f.failed
}
