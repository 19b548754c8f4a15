// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func failuresIn(output string) string {
	var f failures
	for line := range strings.Lines(output) {
		f.add(strings.TrimSuffix(line, "\n"))
	}
	return strings.Join(f.lines(), "\n")
}

func TestFailuresKeepsOutputOfFailedTests(t *testing.T) {
	require.Equal(t, strings.Join([]string{
		"=== RUN   TestDrift",
		"=== RUN   TestDrift/IPv4",
		"    drift_test.go:12: first reason",
		"=== NAME  TestDrift",
		"    drift_test.go:20: second reason",
		"--- FAIL: TestDrift (1.00s)",
		"    --- FAIL: TestDrift/IPv4 (0.50s)",
		"=== quickstart",
		"panic: runtime error",
	}, "\n"), failuresIn(`=== ebpf ^Test(Drift|Refused)$
=== RUN   TestRefused
    refused_test.go:3: a log of a test that passes
--- PASS: TestRefused (0.10s)
=== RUN   TestDrift
=== RUN   TestDrift/IPv4
    drift_test.go:12: first reason
=== NAME  TestDrift
    drift_test.go:20: second reason
--- FAIL: TestDrift (1.00s)
    --- FAIL: TestDrift/IPv4 (0.50s)
=== RUN   TestCleanup
--- PASS: TestCleanup (0.91s)
FAIL
=== quickstart
panic: runtime error
guest: exit 1 after 3.00 s
`))
}

func TestFailuresWithoutAFailedTestKeepsTheEnd(t *testing.T) {
	require.Equal(t, "=== quickstart\nno such file\nguest: exit 1 after 3.00 s",
		failuresIn("=== RUN   TestCleanup\n--- PASS: TestCleanup (0.91s)\n=== quickstart\nno such file\nguest: exit 1 after 3.00 s\n"))
}

func TestFailuresAreShort(t *testing.T) {
	output := "=== RUN   TestDrift\n"
	for i := range 1000 {
		output += fmt.Sprintf("    drift_test.go:12: line %d\n", i)
	}
	lines := strings.Split(failuresIn(output+"--- FAIL: TestDrift (1.00s)\n"), "\n")
	require.Len(t, lines, maxFailureLines+1)
	require.Equal(t, "    drift_test.go:12: line 999", lines[maxFailureLines-1])
}
