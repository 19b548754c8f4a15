// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peerOf returns the user of the peer, which the kernel provides.
func peerOf(conn net.Conn) (info SocketInfo) {
	raw, err := rawConn(conn)
	if err != nil {
		return info
	}
	_ = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			info.Valid, info.UID, info.GID = true, cred.Uid, cred.Gid
		}
	})
	return info
}

// privateSocket creates the socket file with mode 0600, so that no other user can connect
// before the mode is set.
func privateSocket(_, _ string, raw syscall.RawConn) error {
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = unix.Fchmod(int(fd), socketMode) }); err != nil {
		return err
	}
	return failed
}
