// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"container/list"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sigs.k8s.io/kpng/remote/internal/loglimit"
)

// ConnectionLimits bound the open connections of a listener. A connection is
// unauthenticated until [Allow] has permitted a call on it; calls of [Guard.OpenMethods] do
// not count. Unauthenticated connections have a budget of their own, and the oldest of them
// give way to new ones, so that they cannot keep out peers with an identity. Without a
// [Guard] of the listener, only Total applies.
type ConnectionLimits struct {
	// Total is the maximum number of authenticated connections; 0 means 10,000. Above it,
	// calls on further connections are rejected with ResourceExhausted.
	Total int
	// PerNode is the maximum number of authenticated connections of an identity that is bound
	// to a node; 0 means 16. One more closes the oldest.
	PerNode int
	// PerAddress is the maximum number of authenticated connections of one identity that is
	// bound to no node, from one IP address; 0 means 1,000. One more closes the oldest.
	PerAddress int
	// Unauthenticated is the maximum number of unauthenticated connections that are older
	// than 3 s, and UnauthenticatedPerAddress for one IP address; 0 means 1,000 and 50. The
	// oldest are closed above these numbers. The maximum of younger ones, from peers that
	// connect at the same time, is Total, and ten times UnauthenticatedPerAddress.
	Unauthenticated, UnauthenticatedPerAddress int
	// UnauthenticatedBytes is how much an unauthenticated peer may send, in bytes; 0 means
	// 128 KiB. Certificates, tokens and the first message of a call must fit. It bounds floods
	// of frames.
	UnauthenticatedBytes int
	// AuthenticationTimeout is how long a connection may be unauthenticated; 0 means 15 s.
	AuthenticationTimeout time.Duration
}

const (
	// crowdedTimeout is the age at which unauthenticated connections are closed if there are
	// too many: a peer that is overtaken by thousands of others has connected by then.
	crowdedTimeout = 3 * time.Second
	// connectingFactor is the ratio of the maximum number of connections from one address that
	// are younger than crowdedTimeout to that of older ones.
	connectingFactor = 10
	// maxUnauthenticatedCalls is the maximum number of calls that need an identity on an
	// unauthenticated connection, and maxOpenCalls that of other calls.
	maxUnauthenticatedCalls = 8
	maxOpenCalls            = 100
	// maxLimitedCalls is the maximum number of calls of a connection that exceed
	// [CallLimits]; one more closes the connection.
	maxLimitedCalls = 100
)

func (l *ConnectionLimits) setDefaults() {
	setDefault(&l.Total, 10_000)
	setDefault(&l.PerNode, 16)
	setDefault(&l.PerAddress, 1_000)
	setDefault(&l.Unauthenticated, 1_000)
	setDefault(&l.UnauthenticatedPerAddress, 50)
	setDefault(&l.UnauthenticatedBytes, 128<<10)
	setDefault(&l.AuthenticationTimeout, 15*time.Second)
}

// connections are the open connections of a listener.
//
//	state            entered by                  left by
//	unauthenticated  accepted                    Allow -> authenticated; limits, timeout or
//	                                             end -> closed
//	authenticated    first permitted call        end, or a newer connection of the same
//	                                             identity -> closed;
//	                                             Close after that changes nothing
type connections struct {
	limits  ConnectionLimits
	logger  *slog.Logger
	logged  *loglimit.Limiter
	address net.Addr

	guarded atomic.Bool

	mu              sync.Mutex
	byPeer          map[net.Addr]*peerConn // by the pointer that is the remote address
	authenticated   int
	unauthenticated *list.List                // of *peerConn; the oldest is first
	byAddress       map[netip.Addr]*list.List // unauthenticated ones; without Unix sockets
	byIdentity      map[identityKey]*list.List
	closed          map[CloseReason]uint64
	rejected        map[codes.Code]uint64
	handshakes      uint64 // that failed
}

// An identityKey is what the limits of an identity apply to: a node, or an identity that is
// bound to no node at one address, because relays and anonymous peers share their name.
type identityKey struct {
	name, node string
	address    netip.Addr
}

func keyOf(i Identity, from net.Addr) identityKey {
	if i.Node != "" {
		return identityKey{name: i.Name, node: i.Node}
	}
	return identityKey{name: i.Name, address: ipOf(from)}
}

func newConnections(address net.Addr, limits ConnectionLimits, logger *slog.Logger) *connections {
	limits.setDefaults()
	return &connections{
		limits: limits, logger: silentIfNil(logger), logged: loglimit.New(time.Minute, 100), address: address,
		byPeer: map[net.Addr]*peerConn{}, unauthenticated: list.New(),
		byAddress: map[netip.Addr]*list.List{}, byIdentity: map[identityKey]*list.List{},
		closed: map[CloseReason]uint64{}, rejected: map[codes.Code]uint64{},
	}
}

// accept returns a connection that is counted, or nil when there are too many.
func (c *connections) accept(raw net.Conn) *peerConn {
	conn := &peerConn{Conn: raw, all: c, accepted: time.Now(), ip: ipOf(raw.RemoteAddr()), remote: ownAddr(raw.RemoteAddr())}
	conn.unauthenticated.Store(true)
	c.mu.Lock()
	victims := c.add(conn)
	c.mu.Unlock()
	for _, v := range victims {
		v.conn.closeFor(v.reason)
	}
	if len(victims) == 1 && victims[0].conn == conn {
		return nil
	}
	return conn
}

type victim struct {
	conn   *peerConn
	reason CloseReason
}

// add adds a connection and returns those to close: conn alone if it is not added.
func (c *connections) add(conn *peerConn) (victims []victim) {
	if !c.guarded.Load() {
		if len(c.byPeer) >= c.limits.Total {
			return []victim{{conn, CloseTotalLimit}}
		}
		c.byPeer[conn.remote] = conn
		return nil
	}
	own := &list.List{}
	if conn.ip.IsValid() {
		if own = c.byAddress[conn.ip]; own == nil {
			own = list.New()
			c.byAddress[conn.ip] = own
		}
	}
	oldest := func(l *list.List, limit, hard int, reason CloseReason) {
		for l.Len() >= limit {
			v := l.Front().Value.(*peerConn) //nolint:forcetypeassert // add adds no other type
			if l.Len() < hard && time.Since(v.accepted) < crowdedTimeout {
				return
			}
			c.removeUnauthenticated(v)
			victims = append(victims, victim{v, reason})
		}
	}
	oldest(own, c.limits.UnauthenticatedPerAddress, connectingFactor*c.limits.UnauthenticatedPerAddress, CloseAddressLimit)
	oldest(c.unauthenticated, c.limits.Unauthenticated, max(c.limits.Total, c.limits.Unauthenticated), CloseUnauthenticatedLimit)
	if conn.ip.IsValid() && c.byAddress[conn.ip] == nil { // the last one was removed
		own = list.New()
		c.byAddress[conn.ip] = own
	}
	c.byPeer[conn.remote] = conn
	conn.inAll, conn.inGroup, conn.group = c.unauthenticated.PushBack(conn), own.PushBack(conn), own
	conn.timer = time.AfterFunc(min(crowdedTimeout, c.limits.AuthenticationTimeout), conn.expire)
	return victims
}

// removeUnauthenticated removes a connection from the unauthenticated ones.
func (c *connections) removeUnauthenticated(conn *peerConn) {
	if conn.inAll == nil {
		return
	}
	conn.timer.Stop()
	c.unauthenticated.Remove(conn.inAll)
	if conn.group.Remove(conn.inGroup); conn.group.Len() == 0 && conn.ip.IsValid() {
		delete(c.byAddress, conn.ip)
	}
	conn.inAll, conn.inGroup, conn.group = nil, nil, nil
}

// of returns the connection of a call, or nil if it is unknown.
func (c *connections) of(remote net.Addr) *peerConn {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byPeer[remote]
}

// authenticate records that a call of identity is permitted on conn. The error is a gRPC
// status error.
func (c *connections) authenticate(conn *peerConn, identity Identity) error {
	if !conn.unauthenticated.Load() {
		return nil
	}
	key := keyOf(identity, conn.remote)
	c.mu.Lock()
	if conn.inAll == nil { // closed, or authenticated by another call
		c.mu.Unlock()
		return nil
	}
	if c.authenticated >= c.limits.Total {
		c.mu.Unlock()
		conn.closeFor(CloseTotalLimit)
		return status.Errorf(codes.ResourceExhausted, "the server has %d connections, its maximum", c.limits.Total)
	}
	c.removeUnauthenticated(conn)
	conn.unauthenticated.Store(false)
	group := c.byIdentity[key]
	if group == nil {
		group = list.New()
		c.byIdentity[key] = group
	}
	limit := c.limits.PerAddress
	if key.node != "" {
		limit = c.limits.PerNode
	}
	var oldest *peerConn
	if group.Len() >= limit {
		oldest = group.Front().Value.(*peerConn) //nolint:forcetypeassert // only authenticate adds
	}
	conn.inGroup, conn.group, conn.key = group.PushBack(conn), group, key
	c.authenticated++
	c.mu.Unlock()
	if oldest != nil {
		oldest.closeFor(CloseIdentityLimit)
	}
	return nil
}

// remove removes a connection that is closed.
func (c *connections) remove(conn *peerConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byPeer[conn.remote] != conn {
		return // not added
	}
	delete(c.byPeer, conn.remote)
	c.removeUnauthenticated(conn)
	if conn.group != nil {
		if conn.group.Remove(conn.inGroup); conn.group.Len() == 0 {
			delete(c.byIdentity, conn.key)
		}
		conn.inGroup, conn.group = nil, nil
		c.authenticated--
	}
}

// giveWay removes an unauthenticated connection of age crowdedTimeout if there are too many.
func (c *connections) giveWay(conn *peerConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn.inAll == nil {
		return false
	}
	if c.unauthenticated.Len() > c.limits.Unauthenticated || conn.ip.IsValid() && conn.group.Len() > c.limits.UnauthenticatedPerAddress {
		c.removeUnauthenticated(conn)
		return true
	}
	return false
}

// count counts a connection that the server closes, and logs one per reason and minute.
func (c *connections) count(conn *peerConn, reason CloseReason) {
	c.mu.Lock()
	c.closed[reason]++
	open, authenticated, identity := len(c.byPeer), c.authenticated, conn.key.name
	c.mu.Unlock()
	if reason == CloseAuthenticationTimeout {
		return // usual for port scanners and probes
	}
	if suppressed, ok := c.logged.Allow(reason); ok {
		c.logger.Warn("Closing a connection", "listener", c.address, "reason", string(reason), "peer", conn.remote,
			"identity", identity, "open", open, "authenticated", authenticated, "suppressed", suppressed)
	}
}

func (c *connections) countRejected(code codes.Code) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rejected[code]++
}

func (c *connections) countFailedHandshake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handshakes++
}
