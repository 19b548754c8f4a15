// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package userspace

import (
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// waitable returns what waitReadable needs of a connection; nil if it cannot wait.
func waitable(c net.Conn) syscall.RawConn { return rawConn(c) }

// waitReadable waits until a socket is readable, has ended or has failed, without a buffer. It
// returns an error if the socket is closed.
func waitReadable(c syscall.RawConn) error {
	return c.Read(func(fd uintptr) bool {
		fds := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds[:], 0)
		return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
	})
}
