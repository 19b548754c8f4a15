// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/ebpf"
)

// A kernel without a program for devices serves sockets; other errors, and those of a kernel that
// serves no sockets, are returned.
func TestSocketsWithoutDevices(t *testing.T) {
	var log bytes.Buffer
	cfg := ebpf.Config{Devices: []string{"eth*"}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	refused := fmt.Errorf("Devices: needs Linux 6.1: %w", errors.ErrUnsupported)
	created := &ebpf.Backend{}
	sockets, err := newSockets(cfg, func(cfg ebpf.Config) (*ebpf.Backend, error) {
		if len(cfg.Devices) > 0 {
			return nil, refused
		}
		return created, nil
	})
	require.NoError(t, err)
	require.Same(t, created, sockets)
	require.Contains(t, log.String(), "needs Linux 6.1")
	require.Equal(t, []string{"eth*"}, cfg.Devices)

	log.Reset()
	for failure, want := range map[error]int{refused: 2, errors.New("no memory"): 1} {
		calls := 0
		_, err := newSockets(cfg, func(ebpf.Config) (*ebpf.Backend, error) { calls++; return nil, failure })
		require.ErrorIs(t, err, failure)
		require.Equal(t, want, calls)
		require.Empty(t, log.String())
	}
}
