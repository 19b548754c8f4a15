// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// ConnectionLimits are the maximum numbers of open connections.
type ConnectionLimits struct {
	// Total is the maximum of all connections; 0 means 10,000.
	Total int
	// PerAddress is the maximum for one IP address; 0 means 100. It must be higher where
	// many peers share an address, behind a NAT or a proxy. It does not apply to Unix
	// sockets.
	PerAddress int
}

// LimitConnections returns a listener that closes connections above the limits as it
// accepts them, and logs that at most once a minute. A nil logger is silent. The listener
// owns inner.
func LimitConnections(inner net.Listener, limits ConnectionLimits, logger *slog.Logger) net.Listener {
	setDefault(&limits.Total, 10_000)
	setDefault(&limits.PerAddress, 100)
	return &limitedListener{Listener: inner, limits: limits, logger: silentIfNil(logger), byAddress: map[netip.Addr]int{}}
}

type limitedListener struct {
	net.Listener
	limits ConnectionLimits
	logger *slog.Logger

	mu         sync.Mutex
	open       int
	byAddress  map[netip.Addr]int // open connections; Unix sockets are not counted
	refused    int                // since lastLogged
	lastLogged time.Time
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := ipOf(conn.RemoteAddr())
		if l.admit(addr) {
			return &countedConn{Conn: conn, release: sync.OnceFunc(func() { l.release(addr) })}, nil
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // no TIME_WAIT state
		}
		_ = conn.Close()
	}
}

func (l *limitedListener) admit(addr netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.limits.Total || addr.IsValid() && l.byAddress[addr] >= l.limits.PerAddress {
		l.refused++
		if now := time.Now(); now.Sub(l.lastLogged) > time.Minute {
			l.logger.Warn("Refusing connections above the limit", "listener", l.Addr(), "address", addr, "refused", l.refused,
				"open", l.open, "total", l.limits.Total, "openFromAddress", l.byAddress[addr], "perAddress", l.limits.PerAddress)
			l.lastLogged, l.refused = now, 0
		}
		return false
	}
	l.open++
	if addr.IsValid() {
		l.byAddress[addr]++
	}
	return true
}

func (l *limitedListener) release(addr netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if !addr.IsValid() {
		return
	}
	if l.byAddress[addr]--; l.byAddress[addr] == 0 {
		delete(l.byAddress, addr)
	}
}

// A countedConn releases its slot when it is closed.
type countedConn struct {
	net.Conn
	release func()
}

func (c *countedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// SyscallConn gives access to the credentials of a Unix socket's peer.
func (c *countedConn) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }
