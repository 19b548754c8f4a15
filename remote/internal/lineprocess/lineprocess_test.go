// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package lineprocess

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestGroupEndsWithTheChild: processes that a child has left behind are killed when it exits, not when
// Close is called: the number of the group may be that of another one then.
func TestGroupEndsWithTheChild(t *testing.T) {
	held, stderr, err := os.Pipe()
	require.NoError(t, err)
	defer held.Close()
	p, err := Start(Config{Command: []string{"/bin/sh", "-c", "sleep 1000 &"}, Stderr: stderr})
	require.NoError(t, errors.Join(err, stderr.Close()))
	<-p.Exited()
	require.NoError(t, held.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err = held.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF, "a process holds the standard error open")
	p.Close(0)
}
