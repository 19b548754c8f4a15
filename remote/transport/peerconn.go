// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"container/list"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A countedListener counts its connections and closes those above the limits.
type countedListener struct {
	net.Listener
	connections *connections
}

func (l *countedListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if conn := l.connections.accept(raw); conn != nil {
			return conn, nil
		}
	}
}

// A peerConn is an accepted connection.
type peerConn struct {
	net.Conn
	all      *connections
	accepted time.Time
	ip       netip.Addr // invalid for Unix sockets
	// remote is the remote address, in memory of this connection alone: a call finds its
	// connection by it.
	remote net.Addr

	unauthenticated atomic.Bool
	received        int          // bytes; owned by the goroutine that reads
	calls           atomic.Int32 // that need an identity, while unauthenticated
	openCalls       atomic.Int32 // that need none, while unauthenticated
	limitedCalls    atomic.Int32 // that exceed CallLimits
	closing         sync.Once

	// Guarded by the mutex of all.
	inAll, inGroup *list.Element
	group          *list.List // of the address, or later of the identity
	key            identityKey
	timer          *time.Timer // while unauthenticated
}

// ownAddr returns a copy of addr.
func ownAddr(addr net.Addr) net.Addr {
	switch a := addr.(type) {
	case *net.TCPAddr:
		own := *a
		return &own
	case *net.UnixAddr:
		own := *a
		return &own
	}
	return addr
}

// RemoteAddr implements net.Conn. grpc-go passes the result to calls.
func (c *peerConn) RemoteAddr() net.Addr { return c.remote }

var errTooManyBytes = errors.New("transport: unauthenticated peer sent too much")

func (c *peerConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.unauthenticated.Load() && c.all.guarded.Load() {
		if c.received += n; c.received > c.all.limits.UnauthenticatedBytes {
			c.closeFor(CloseUnauthenticatedData)
			return 0, errTooManyBytes
		}
	}
	return n, err
}

// expire closes the connection if it is unauthenticated for too long.
func (c *peerConn) expire() {
	age := time.Since(c.accepted)
	switch timeout := c.all.limits.AuthenticationTimeout; {
	case !c.unauthenticated.Load():
	case age >= timeout:
		c.closeFor(CloseAuthenticationTimeout)
	case c.all.giveWay(c):
		c.closeFor(CloseUnauthenticatedLimit)
	default:
		c.all.restart(c, timeout-age)
	}
}

// restart sets the timer of an unauthenticated connection.
func (c *connections) restart(conn *peerConn, after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.inAll != nil {
		conn.timer.Reset(after)
	}
}

// startCall counts a call and reports whether the connection may have it.
func (c *peerConn) startCall(open bool) bool {
	if c == nil || !c.unauthenticated.Load() {
		return true
	}
	counter, limit := &c.calls, int32(maxUnauthenticatedCalls)
	if open {
		counter, limit = &c.openCalls, maxOpenCalls
	}
	if counter.Add(1) > limit {
		c.closeFor(CloseUnauthenticatedCalls)
		return false
	}
	return true
}

// limitedCall counts a call that exceeds [CallLimits].
func (c *peerConn) limitedCall() {
	if c != nil && c.limitedCalls.Add(1) > maxLimitedCalls {
		c.closeFor(CloseCallLimit)
	}
}

// closeFor closes the connection under TLS, without waiting for the peer and without a
// TIME_WAIT state. grpc-go then closes it again.
func (c *peerConn) closeFor(reason CloseReason) {
	c.closing.Do(func() {
		c.all.count(c, reason)
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Conn.Close()
		c.all.remove(c)
	})
}

func (c *peerConn) Close() error {
	defer c.all.remove(c)
	return c.Conn.Close()
}

// SyscallConn gives access to the credentials of a Unix socket's peer.
func (c *peerConn) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }
