// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func ownIdentity(node string) Identity {
	return Identity{Name: fmt.Sprintf("unix:uid:%d", os.Getuid()), Groups: []string{fmt.Sprintf("unix:gid:%d", os.Getgid())}, Node: node}
}

// TestSocketFileIsCreatedPrivate checks the mode before Listen sets it.
func TestSocketFileIsCreatedPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	config := net.ListenConfig{Control: privateSocket}
	listener, err := config.Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	defer listener.Close()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&^fs.FileMode(0o600), "%s", info.Mode())
}
