// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"cmp"
	"container/list"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// defaultConnections is the default of LimiterConfig.Connections.
	defaultConnections = 1024
	// minReserve is the minimum number of descriptors that a default Limiter leaves to the
	// rest of the process: its watches, netlink sockets and files.
	minReserve = 64
	// minDescriptors is the number of descriptors of a default Limiter in a process with a
	// very low limit.
	minDescriptors = 16
	// maxConnectionShare bounds the descriptors that listeners leave to connections.
	maxConnectionShare = 64
	// stallTimeout bounds a write to a peer that does not read.
	stallTimeout = 30 * time.Second
)

// A LimiterConfig bounds what the listeners of a process use together. The zero value is
// ready for use.
type LimiterConfig struct {
	// Descriptors is the maximum number of file descriptors of listeners and accepted
	// connections together. 0 means three quarters of the limit of the process
	// (RLIMIT_NOFILE), and at least 64 less than the limit.
	Descriptors int
	// Connections is the maximum number of accepted connections; 0 means 1024.
	Connections int
}

// A Limiter bounds the file descriptors of several listeners and of the connections that
// they accept, so that peers cannot take the descriptors that the process needs itself.
//
// When the limit is reached, a new connection replaces another: of the peer with the most
// connections, the one that has not received a response for the longest time. So a peer
// that holds connections loses its own, and a health check of another peer gets through.
// A peer is an IPv4 address or an IPv6 /64 network.
//
// Its methods may be called from any goroutine.
type Limiter struct {
	descriptors, connections int

	mu        sync.Mutex
	listeners int
	open      int // accepted connections
	replaced  uint64
	clock     uint64 // increases with each use of a connection
	peers     map[netip.Addr]*peer
}

// A peer holds the connections of one peer, guarded by Limiter.mu: the least recently used
// first.
type peer struct{ conns list.List }

// LimiterStats are the counts of a [Limiter].
type LimiterStats struct {
	// Listeners and Connections are those that are open.
	Listeners, Connections int
	// Replaced counts the connections that were closed in favour of newer ones.
	Replaced uint64
	// MaxDescriptors and MaxConnections are the limits.
	MaxDescriptors, MaxConnections int
}

// NewLimiter returns a Limiter. A default that depends on the limit of the process is
// determined once, by this call.
func NewLimiter(cfg LimiterConfig) *Limiter {
	return &Limiter{
		descriptors: cmp.Or(cfg.Descriptors, defaultDescriptors(descriptorLimit())),
		connections: cmp.Or(cfg.Connections, defaultConnections),
		peers:       map[netip.Addr]*peer{},
	}
}

// defaultDescriptors returns the share of listeners and their connections of the
// descriptors that a process may open.
func defaultDescriptors(limit int) int {
	return max(limit-max(limit/4, minReserve), minDescriptors)
}

// MaxRelays returns how many connections a process may relay at a time, beside those of a
// default Limiter. Each takes two descriptors; together they take half of the rest.
func MaxRelays() int {
	limit := descriptorLimit()
	return max((limit-defaultDescriptors(limit))/4, 1)
}

// Stats returns the present counts.
func (l *Limiter) Stats() LimiterStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return LimiterStats{l.listeners, l.open, l.replaced, l.descriptors, l.connections}
}

// Listen listens like [net.ListenConfig.Listen]. It fails if the listeners would leave too
// few descriptors to connections. The result and its connections count until they are
// closed.
func (l *Limiter) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	counted, err := l.listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return counted, nil
}

func (l *Limiter) listen(ctx context.Context, network, address string) (*listener, error) {
	if err := l.addListener(); err != nil {
		return nil, fmt.Errorf("listen %s %s: %w", network, address, err)
	}
	inner, err := new(net.ListenConfig).Listen(ctx, network, address)
	if err != nil {
		l.removeListener()
		return nil, err
	}
	return &listener{Listener: inner, limiter: l}, nil
}

// ListenOnly is [Limiter.Listen] without limits for connections: only the listener counts.
// It is for a caller that bounds its connections, and must not lose one.
func (l *Limiter) ListenOnly(ctx context.Context, network, address string) (net.Listener, error) {
	counted, err := l.listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return plainListener{counted}, nil
}

func (l *Limiter) addListener() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := l.descriptors - min(maxConnectionShare, l.descriptors/2)
	if l.listeners >= most {
		return fmt.Errorf("%d listeners are open, the maximum for %d file descriptors", most, l.descriptors)
	}
	l.listeners++
	return nil
}

func (l *Limiter) removeListener() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners--
}

// add counts a connection that was accepted, and closes those that it replaces.
func (l *Limiter) add(inner net.Conn) net.Conn {
	c := &conn{Conn: inner, limiter: l, key: peerKey(inner.RemoteAddr())}
	l.mu.Lock()
	var victims []*conn
	for l.open > 0 && (l.open >= l.connections || l.open+l.listeners >= l.descriptors) {
		victim := l.leastEntitled()
		l.remove(victim)
		l.replaced++
		victims = append(victims, victim)
	}
	p := l.peers[c.key]
	if p == nil {
		p = &peer{}
		l.peers[c.key] = p
	}
	l.clock++
	c.lastUse = l.clock
	c.position = p.conns.PushBack(c)
	l.open++
	l.mu.Unlock()
	for _, victim := range victims {
		_ = victim.Conn.Close()
	}
	return c
}

// leastEntitled returns the connection to replace; l.mu must be held, and there must be one.
func (l *Limiter) leastEntitled() *conn {
	var found *conn
	most := 0
	for _, p := range l.peers {
		oldest, _ := p.conns.Front().Value.(*conn)
		if n := p.conns.Len(); n > most || n == most && oldest.lastUse < found.lastUse {
			found, most = oldest, n
		}
	}
	return found
}

// remove stops counting a connection; l.mu must be held. Further calls have no effect.
func (l *Limiter) remove(c *conn) {
	if c.position == nil {
		return
	}
	p := l.peers[c.key]
	p.conns.Remove(c.position)
	c.position = nil
	if p.conns.Len() == 0 {
		delete(l.peers, c.key)
	}
	l.open--
}

// use records that c sends a response.
func (l *Limiter) use(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.position != nil {
		l.clock++
		c.lastUse = l.clock
		l.peers[c.key].conns.MoveToBack(c.position)
	}
}

// peerKey returns what identifies the peer at an address.
func peerKey(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.Addr()
		}
	}
	return addr
}

// A listener counts as a descriptor of its limiter.
type listener struct {
	net.Listener
	limiter *Limiter
	close   sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.limiter.add(c), nil
}

func (l *listener) Close() error {
	err := l.Listener.Close()
	l.close.Do(l.limiter.removeListener)
	return err
}

// A plainListener counts as a descriptor, and its connections do not.
type plainListener struct{ *listener }

func (l plainListener) Accept() (net.Conn, error) { return l.Listener.Accept() }

// A conn counts as a connection of its limiter. A peer that does not read ends it.
type conn struct {
	net.Conn
	limiter *Limiter
	key     netip.Addr

	// Guarded by limiter.mu.
	position *list.Element // in the peer's list; nil when it no longer counts
	lastUse  uint64
}

func (c *conn) Write(p []byte) (int, error) {
	c.limiter.use(c)
	if err := c.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// CloseWrite lets a server end a connection without losing the response.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.limiter.mu.Lock()
	defer c.limiter.mu.Unlock()
	c.limiter.remove(c)
	return err
}
