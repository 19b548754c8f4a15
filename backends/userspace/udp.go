// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxDatagram is the size of the largest UDP datagram.
const maxDatagram = 1 << 16

// A bufferPool holds buffers for datagrams and for the first bytes of a busy TCP connection. A
// socket takes one only while it has data, so idle sockets cost none.
type bufferPool struct{ pool sync.Pool }

func (d *bufferPool) get() *[maxDatagram]byte {
	if b, ok := d.pool.Get().(*[maxDatagram]byte); ok {
		return b
	}
	return new([maxDatagram]byte)
}

func (d *bufferPool) put(b *[maxDatagram]byte) { d.pool.Put(b) }

// A relayUDP is the open socket of a UDP listener, with the sessions of its clients.
type relayUDP struct {
	backend  *Backend
	listener *listener
	socket   net.PacketConn
	raw      syscall.RawConn // nil if it cannot wait
	local    netip.AddrPort

	mu       sync.Mutex // guards sessions and closed
	sessions map[netip.AddrPort]*session
	closed   bool

	// refused holds the clients of the refused share, and when they were refused: a client that
	// sends again without an answer must not be a new connection. Only run uses it.
	refused map[netip.AddrPort]time.Time
}

const (
	// refusedTime is how long a UDP client of the refused share stays refused.
	refusedTime = 10 * time.Second
	// maxRefused limits the refused clients of one listener that are remembered.
	maxRefused = 1024
)

// A session is the flow of a UDP client to an endpoint.
type session struct {
	relay    *relayUDP
	target   *target
	client   net.Addr
	key      netip.AddrPort // the client
	endpoint netip.AddrPort
	server   net.Conn
	lastUsed atomic.Int64 // nanoseconds since the session began
	began    time.Time
	timer    *time.Timer
}

func newRelayUDP(b *Backend, l *listener, socket net.PacketConn) *relayUDP {
	r := &relayUDP{backend: b, listener: l, socket: socket, local: addrPort(socket.LocalAddr()), sessions: map[netip.AddrPort]*session{}}
	if c, ok := socket.(net.Conn); ok { // a *net.UDPConn is one
		r.raw = waitable(c)
	}
	return r
}

// run relays datagrams of clients until the socket is closed.
func (r *relayUDP) run() {
	for {
		if err := r.forward(); errors.Is(err, net.ErrClosed) {
			return
		}
		// Other errors are those of earlier datagrams, such as an ICMP message.
	}
}

// forward waits for a datagram of a client and sends it to an endpoint.
func (r *relayUDP) forward() error {
	if r.raw != nil {
		if err := waitReadable(r.raw); err != nil {
			return err
		}
	}
	buf := r.backend.buffers.get()
	defer r.backend.buffers.put(buf)
	n, client, err := r.socket.ReadFrom(buf[:])
	if err != nil {
		return err
	}
	if s := r.session(client); s != nil {
		s.touch()
		if _, err := s.server.Write(buf[:n]); err == nil {
			s.target.port.toEndpoints.Add(uint64(n))
		}
	}
	return nil
}

// session returns the session of a client, which it creates if necessary, or nil if the client
// gets no answer. Only run calls it.
func (r *relayUDP) session(client net.Addr) *session {
	key := addrPort(client)
	r.mu.Lock()
	s := r.sessions[key]
	r.mu.Unlock()
	if s != nil {
		return s
	}
	now := time.Now()
	if at, ok := r.refused[key]; ok && now.Sub(at) < refusedTime {
		return nil
	}
	t := r.listener.target.Load()
	t.count.Add(1)
	sel, _ := t.route(key.Addr(), r.local.Addr())
	if sel == nil {
		r.backend.dropped.Add(1)
		return nil
	}
	if !r.backend.acquire(r.backend.ctx, t.service, false) {
		return nil
	}
	if s = r.open(t, sel, client); s == nil {
		r.backend.release(t.service)
	}
	return s
}

// open connects to an endpoint and starts a session. It returns nil if the client is refused.
func (r *relayUDP) open(t *target, sel *selector, client net.Addr) *session {
	key := addrPort(client)
	endpoint, ok := t.port.pick(t.settings, sel, key, time.Now())
	if !ok {
		r.backend.refused.Add(1)
		r.rememberRefused(key, time.Now())
		return nil
	}
	ctx, cancel := context.WithTimeout(r.backend.ctx, dialTimeout)
	server, err := r.backend.cfg.Dial(ctx, "udp", endpoint.String())
	cancel()
	if err != nil {
		t.port.release(endpoint)
		r.backend.dialFailures.Add(1)
		r.backend.cfg.Logger.Debug("Cannot connect to endpoint", "service", t.service.name, "endpoint", endpoint, "err", err)
		return nil
	}
	s := &session{relay: r, target: t, client: client, key: key, endpoint: endpoint, server: server, began: time.Now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	// The endpoint may have been removed, or the socket closed, since it was selected.
	if r.closed || !r.listener.target.Load().port.settings.Load().keeps(endpoint) {
		_ = server.Close()
		t.port.release(endpoint)
		return nil
	}
	r.sessions[key] = s
	r.backend.sessions.Add(1)
	s.timer = time.AfterFunc(r.backend.cfg.UDPIdleTimeout, s.expire)
	r.backend.running.Go(s.run)
	return s
}

func (r *relayUDP) rememberRefused(client netip.AddrPort, now time.Time) {
	if len(r.refused) >= maxRefused {
		maps.DeleteFunc(r.refused, func(_ netip.AddrPort, at time.Time) bool { return now.Sub(at) >= refusedTime })
	}
	if len(r.refused) >= maxRefused {
		return
	}
	if r.refused == nil {
		r.refused = map[netip.AddrPort]time.Time{}
	}
	r.refused[client] = now
}

func (s *session) touch() { s.lastUsed.Store(int64(time.Since(s.began))) }

// expire ends the session if no packet has used it for the idle timeout, and otherwise restarts
// the timer.
func (s *session) expire() {
	idle := time.Since(s.began) - time.Duration(s.lastUsed.Load())
	if rest := s.relay.backend.cfg.UDPIdleTimeout - idle; rest > 0 {
		s.relay.mu.Lock() // open holds it until the timer is set
		defer s.relay.mu.Unlock()
		s.timer.Reset(rest)
		return
	}
	_ = s.server.Close()
}

// run relays the replies of the endpoint until the session ends: the socket of the endpoint is
// closed, or has an error such as an ICMP message. The client's next packet begins another one.
func (s *session) run() {
	raw := waitable(s.server)
	for s.reply(raw) == nil {
		s.touch()
	}
	r := s.relay
	r.mu.Lock()
	if r.sessions[s.key] == s { // otherwise the client has begun another one
		delete(r.sessions, s.key)
	}
	last := len(r.sessions) == 0
	r.mu.Unlock()
	s.timer.Stop()
	_ = s.server.Close()
	s.target.port.release(s.endpoint)
	r.backend.sessions.Add(-1)
	r.backend.release(s.target.service)
	if last && r.listener.draining.Load() {
		r.backend.requestResync()
	}
}

// reply waits for a datagram of the endpoint and sends it to the client.
func (s *session) reply(raw syscall.RawConn) error {
	if raw != nil {
		if err := waitReadable(raw); err != nil {
			return err
		}
	}
	buf := s.relay.backend.buffers.get()
	defer s.relay.backend.buffers.put(buf)
	n, err := s.server.Read(buf[:])
	if err != nil {
		return err
	}
	if _, err = s.relay.socket.WriteTo(buf[:n], s.client); err == nil {
		s.target.port.toClients.Add(uint64(n))
	} else if !errors.Is(err, net.ErrClosed) {
		err = nil // the client may be unreachable for a moment
	}
	return err
}

// endStale ends the sessions with endpoints that are neither in a pool nor draining. It reports
// whether others remain.
func (r *relayUDP) endStale(keeps func(netip.AddrPort) bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	remain := false
	for key, s := range r.sessions {
		if keeps(s.endpoint) {
			remain = true
			continue
		}
		delete(r.sessions, key) // the client's next packet begins another session
		_ = s.server.Close()
	}
	return remain
}

// close closes the socket and ends all sessions.
func (r *relayUDP) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	_ = r.socket.Close()
	r.endStale(func(netip.AddrPort) bool { return false })
}
