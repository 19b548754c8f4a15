// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package transport

import (
	"net"
	"syscall"
)

// peerOf returns an invalid SocketInfo: only Linux is supported.
func peerOf(net.Conn) SocketInfo { return SocketInfo{} }

// privateSocket does nothing: the mode is set after the file is created.
func privateSocket(_, _ string, _ syscall.RawConn) error { return nil }
