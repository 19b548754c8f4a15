// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOtherModulesCanBuildBackends builds examples/custom-backend as a separate module that
// requires this one, as a vendor would.
func TestOtherModulesCanBuildBackends(t *testing.T) {
	root, err := os.Getwd()
	require.NoError(t, err)
	sources, err := filepath.Glob("examples/custom-backend/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	dir := t.TempDir()
	for _, file := range append(sources, "go.sum") {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600))
	}
	run := func(args ...string) {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %v: %s", args, out)
	}
	run("mod", "init", "example.com/vendor")
	run("mod", "edit", "-go=1.26.0", "-require="+module+"@v0.0.0", "-replace="+module+"="+root)
	run("build", "-o", os.DevNull, ".")
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	require.Contains(t, string(data), "\ngo 1.26.0\n", "the library must not raise the Go version of its users")
}
