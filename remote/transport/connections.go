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

// ConnectionLimits are how many connections may be open at once.
type ConnectionLimits struct {
	// Total is how many in all; 0 is 10,000.
	Total int
	// PerAddress is how many from one IP address; 0 is 100. It must be more where
	// peers come through one address, from behind a relay or a NAT. Unix sockets have
	// no addresses.
	PerAddress int
}

// LimitConnections returns a listener that closes at once what is above the limits. A
// logger is told now and then; nil is silent.
func LimitConnections(inner net.Listener, limits ConnectionLimits, logger *slog.Logger) net.Listener {
	setDefault(&limits.Total, 10_000)
	setDefault(&limits.PerAddress, 100)
	return &limitedListener{Listener: inner, limits: limits, logger: silentIfNil(logger), byAddress: map[netip.Addr]int{}}
}

type limitedListener struct {
	net.Listener
	limits ConnectionLimits
	logger *slog.Logger

	mu      sync.Mutex
	open    int
	byAddress      map[netip.Addr]int // open, of those that have an address
	refused int                // since it was told
	lastLogged    time.Time
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
			_ = tcp.SetLinger(0) // leave nothing behind in the kernel
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
			l.logger.Warn("refusing connections above the limit", "listener", l.Addr(), "last", addr, "refused", l.refused,
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

// A countedConn makes room when it is closed.
type countedConn struct {
	net.Conn
	release func()
}

func (c *countedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}

// SyscallConn lets the peer's credentials be asked for.
func (c *countedConn) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }
