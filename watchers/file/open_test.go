// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package file

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

// TestSpecialFilesDoNotBlock has pipes, sockets, devices and links to them in a directory.
func TestSpecialFilesDoNotBlock(t *testing.T) {
	s := newScanner(t)
	s.put("web.yaml", service("a", "10.0.0.1"))
	require.NoError(t, syscall.Mkfifo(filepath.Join(s.dir, "fifo.yaml"), 0o600))
	require.NoError(t, os.Symlink("fifo.yaml", filepath.Join(s.dir, "link.json")))
	require.NoError(t, os.Symlink("/dev/zero", filepath.Join(s.dir, "zero.yaml")))
	require.NoError(t, os.Symlink("/dev/tty", filepath.Join(s.dir, "tty.yaml")))
	socket, err := net.Listen("unix", filepath.Join(s.dir, "socket.yml"))
	require.NoError(t, err)
	defer socket.Close()
	dump, err := os.Create(filepath.Join(s.dir, "dump.json"))
	require.NoError(t, err)
	require.NoError(t, errors.Join(dump.Truncate(1<<40), dump.Close())) // sparse
	for range 2 {
		objects, errs := s.scan()
		require.Equal(t, []string{serviceA}, objects)
		const failure = "cannot read file, keeping its last known objects: "
		require.Equal(t, []string{
			"dump.json: " + failure + "larger than 256 MiB",
			"fifo.yaml: " + failure + "a pipe, not a regular file",
			"link.json: " + failure + "a pipe, not a regular file",
			"socket.yml: " + failure + "a socket, not a regular file",
			"tty.yaml: " + failure + "a device, not a regular file",
			"zero.yaml: " + failure + "a device, not a regular file",
		}, errs)
	}
	_, _, err = readRegular(filepath.Join(s.dir, "fifo.yaml"))
	require.EqualError(t, err, "a pipe, not a regular file", "if the file was replaced after the check")

	s.put("web.yaml", service("b", "10.0.0.2"))
	objects, _ := s.scan()
	require.Equal(t, []string{serviceB}, objects)
	require.NoError(t, os.Rename(filepath.Join(s.dir, "fifo.yaml"), filepath.Join(s.dir, "web.yaml")))
	objects, _ = s.scan()
	require.Equal(t, []string{serviceB}, objects, "a file that becomes a pipe keeps its objects")
}

// TestPipeIsReadOnce runs a watcher of a pipe, as in print-state <(kubectl get -o yaml ...).
func TestPipeIsReadOnce(t *testing.T) {
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	written := make(chan error, 1)
	go func() {
		_, err := write.WriteString(jsonService("a", "10.0.0.1") + strings.Repeat("\n# the pipe's buffer is smaller", 1<<13))
		written <- err
		write.Close()
	}()
	r := run(t, "/dev/fd/"+strconv.Itoa(int(read.Fd())), Config{Poll: time.Millisecond})
	require.NoError(t, <-written)
	require.True(t, hasClusterIP("a", "10.0.0.1")(r.store.Snapshot()))
	r.stop()
	require.True(t, hasClusterIP("a", "10.0.0.1")(r.store.Snapshot()))
}

func TestSpecialPaths(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	err := mustNew(t, fifo, Config{}).Run(t.Context(), watchers.NewStore())
	require.EqualError(t, err, "watchers/file: "+fifo+": the pipe is empty: no program has it open for writing")
	err = mustNew(t, "/dev/zero", Config{}).Run(t.Context(), watchers.NewStore())
	require.EqualError(t, err, "watchers/file: /dev/zero: a device, not a regular file")

	// A writer that writes nothing does not keep Run from ending.
	writer, err := os.OpenFile(fifo, os.O_RDWR, 0)
	require.NoError(t, err)
	defer writer.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	w := mustNew(t, fifo, Config{})
	go func() { ended <- w.Run(ctx, watchers.NewStore()) }()
	cancel()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		require.FailNow(t, "Run waits for the writer of the pipe")
	}
}
