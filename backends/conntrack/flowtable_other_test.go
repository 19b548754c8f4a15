// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package conntrack_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/conntrack"
)

// TestOtherSystems: the error names the system.
func TestOtherSystems(t *testing.T) {
	_, err := conntrack.NewCutter()
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.EqualError(t, err, "conntrack: connection tracking on "+runtime.GOOS+": unsupported operation; Linux is required")
	_, err = conntrack.New(conntrack.Config{})
	require.ErrorIs(t, err, errors.ErrUnsupported)
}
