// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net"
	"sync"
	"time"
)

const (
	// holdTime is how long a dropped TCP connection gets no answer before it is reset. A
	// client that gets no answer to its first packet usually gives up later.
	holdTime = 10 * time.Second
	// maxHeld limits the dropped connections that are held at a time.
	maxHeld = 1024
)

// A heldConns holds TCP connections that are dropped: the kernel has accepted them, but the
// client gets no answer.
type heldConns struct {
	mu     sync.Mutex
	timers map[net.Conn]*time.Timer
	closed bool
}

// hold holds a connection. If there are too many, or after close, it resets the connection.
func (h *heldConns) hold(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.timers) >= maxHeld {
		reset(c)
		return
	}
	if h.timers == nil {
		h.timers = map[net.Conn]*time.Timer{}
	}
	h.timers[c] = time.AfterFunc(holdTime, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.timers, c)
		reset(c)
	})
}

// close resets all connections.
func (h *heldConns) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for c, timer := range h.timers {
		timer.Stop()
		delete(h.timers, c)
		reset(c)
	}
}
