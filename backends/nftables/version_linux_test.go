// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
)

// TestKernelVersion: kernels from 5.13 on are accepted; earlier ones are refused with an error that
// names this version. `make kernels` runs it on several kernels.
func TestKernelVersion(t *testing.T) {
	var name unix.Utsname
	require.NoError(t, unix.Uname(&name))
	release := unix.ByteSliceToString(name.Release[:])
	netnstest.New(t).Do(func() error {
		b, err := New(Config{})
		if !releaseAtLeast(release, 5, 13) {
			require.ErrorContains(t, err, "nftables: Linux "+release+" is not supported: at least 5.13 is required")
			t.Log(err)
			return nil
		}
		require.NoError(t, err)
		return b.Close()
	})
}
