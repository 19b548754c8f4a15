// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package transport

import (
	"net"
	"syscall"
)

// peerOf knows nothing: other systems are not asked.
func peerOf(net.Conn) SocketInfo { return SocketInfo{} }

// privateSocket does nothing: the mode is set when the file is there.
func privateSocket(_, _ string, _ syscall.RawConn) error { return nil }
