// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package userspace

import (
	"net"
	"syscall"
)

// waitable returns nil: on this system a read keeps its buffer while it waits.
func waitable(net.Conn) syscall.RawConn { return nil }

// waitReadable does not wait: the read that follows does.
func waitReadable(syscall.RawConn) error { return nil }
