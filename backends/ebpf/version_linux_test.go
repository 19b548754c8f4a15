// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/bpftest"
)

// TestKernelVersion: kernels from 5.18 on are accepted; earlier ones are refused with an error that
// names this version. `make kernels` runs it on several kernels.
func TestKernelVersion(t *testing.T) {
	cfg := Config{Cgroup: bpftest.JoinCgroup(t), PinDirectory: bpftest.MountBPF(t) + "/kpng"}
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	require.NoError(t, err)
	b, err := New(cfg)
	if major < 5 || major == 5 && minor < 18 {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.ErrorContains(t, err, "the backend needs Linux 5.18; this kernel lacks ")
		t.Logf("Linux %d.%d: %v", major, minor, err)
		return
	}
	require.NoError(t, err)
	require.NoError(t, errors.Join(b.Close(), Cleanup(cfg)))
}
