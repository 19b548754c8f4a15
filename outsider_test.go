// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOutsidersCanBuild makes an empty module elsewhere, as a vendor would, requires
// this one, and builds a backend of its own.
func TestOutsidersCanBuild(t *testing.T) {
	here, err := os.Getwd()
	require.NoError(t, err)
	dir := t.TempDir()
	write := func(name, from string) {
		data, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	write("main.go", "examples/custom-backend/main.go")
	write("go.sum", "go.sum")
	run := func(args ...string) {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "go %v: %s", args, out)
	}
	run("mod", "init", "example.com/vendor")
	run("mod", "edit", "-go=1.26.0", "-require="+module+"@v0.0.0", "-replace="+module+"="+here)
	run("build", "-o", os.DevNull, ".")
	data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	require.NoError(t, err)
	require.Contains(t, string(data), "\ngo 1.26.0\n", "importing the library must not raise the importer's Go")
}
