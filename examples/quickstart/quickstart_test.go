// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// TestQuickstart runs what `make demo` runs.
func TestQuickstart(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("requires Linux")
	}
	out, err := exec.Command("go", "run", ".").CombinedOutput()
	require.NoError(t, err, string(out))
	if os.Getenv("KPNG_REQUIRE_NETNS") == "" && strings.Contains(string(out), errNotPermitted.Error()) {
		t.Skipf("no namespace on this machine:\n%s", out)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	require.Less(t, len(lines), 24, "fits in a terminal of 24 lines, with the command and the next prompt")
	for _, line := range lines {
		require.LessOrEqual(t, utf8.RuneCountInString(line), 80, line)
	}
	require.Regexp(t, `(?s)ClusterIP 10\.96\.0\.10:80 +3000 connections in \d+ ms, by endpoint:
  10\.244\.0\.1 +\d+
  10\.244\.0\.2 +\d+
  10\.244\.0\.3 +\d+
.*New rules: \d+\.\d ms after the file.*
NodePort  192\.0\.2\.10:30080 +3000 connections in \d+ ms, by endpoint:
  10\.244\.0\.1 +\d+
  10\.244\.0\.2 +\d+

.*nothing is left behind\.
$`, string(out))
}

// TestExplain runs what is shown on a machine without namespaces.
func TestExplain(t *testing.T) {
	require.NoError(t, explain(t.Context()))
}
