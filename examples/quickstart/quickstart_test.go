// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

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
	require.Regexp(t, `10\.96\.0\.10:80 +3000 connections in \d+ ms: 10\.244\.0\.1 \d+ times, 10\.244\.0\.2 \d+ times, 10\.244\.0\.3 \d+ times\n`, string(out))
	require.Regexp(t, `The rules changed \d+ µs after the change was read`, string(out))
	require.Regexp(t, `192\.0\.2\.10:30080 +3000 connections in \d+ ms: 10\.244\.0\.1 \d+ times, 10\.244\.0\.2 \d+ times\n$`, string(out))
}

// TestExplain runs what is shown on a machine without namespaces.
func TestExplain(t *testing.T) {
	require.NoError(t, explain(t.Context()))
}
