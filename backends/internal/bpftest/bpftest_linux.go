// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package bpftest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
)

// JoinCgroup moves the test process to a new cgroup until the end of the test, and returns the
// directory of that. Tests that call it must not be parallel. Without the privilege it skips or
// fails the test, see netnstest.RequireEnv.
func JoinCgroup(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a cgroup: skipped with -short")
	}
	root, err := unified()
	require.NoError(t, err)
	before, err := current()
	require.NoError(t, err)
	dir, err := os.MkdirTemp(root, "kpng-test-") //nolint:usetesting // a cgroup, not a directory of files
	if err != nil {
		skipOrFail(t, fmt.Errorf("create cgroup: %w", err))
	}
	t.Cleanup(func() {
		require.NoError(t, Enter(filepath.Join(root, before)))
		require.NoError(t, os.Remove(dir))
	})
	require.NoError(t, Enter(dir))
	return dir
}

// Enter moves the test process to a cgroup that JoinCgroup has created.
func Enter(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
}

// unified returns where the cgroup v2 hierarchy is mounted.
func unified() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == "cgroup2" {
			return fields[1], nil
		}
	}
	return "", errors.New("no cgroup v2 hierarchy is mounted")
}

// current returns the cgroup of the process, relative to the root of the hierarchy.
func current() (string, error) {
	all, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range bytes.Lines(all) {
		if path, found := bytes.CutPrefix(line, []byte("0::")); found {
			return string(bytes.TrimSpace(path)), nil
		}
	}
	return "", errors.New("the process has no cgroup v2")
}

// MountBPF mounts a BPF file system until the end of the test, and returns its directory.
func MountBPF(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		skipOrFail(t, fmt.Errorf("mount BPF file system: %w", err))
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func skipOrFail(t testing.TB, err error) {
	t.Helper()
	if os.Getenv(netnstest.RequireEnv) == "1" {
		t.Fatalf("%v (%s is set)", err, netnstest.RequireEnv)
	}
	t.Skipf("needs root: %v", err)
}
