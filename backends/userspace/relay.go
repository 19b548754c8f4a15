// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// dialTimeout is how long the endpoints of a connection may take to accept it.
	dialTimeout = 5 * time.Second
	// maxDials is the number of endpoints that a connection tries.
	maxDials = 3
	// bulkBytes is how many bytes must be readable at once for a direction to get a pipe.
	bulkBytes = 16 << 10
	// pipeTime is how long a direction keeps its pipe before it must have bulkBytes again.
	pipeTime = time.Second
)

// serve relays a TCP connection that the kernel has accepted. It calls done when the connection
// has ended, which may be after serve has returned.
func (b *Backend) serve(t *target, client net.Conn, done func()) {
	t.count.Add(1)
	from := addrPort(client.RemoteAddr())
	sel, verdict := t.route(from.Addr(), addrPort(client.LocalAddr()).Addr())
	if sel == nil {
		b.refuse(client, verdict)
		done()
		return
	}
	server, endpoint := b.connect(t, sel, from)
	if server == nil {
		b.refuse(client, localsink.VerdictReject)
		done()
		return
	}
	c := &connection{client: client, server: server, done: func() {
		t.port.release(endpoint)
		done()
	}}
	b.relay(t.port, c)
}

// refuse applies the verdict to a connection without an endpoint.
func (b *Backend) refuse(client net.Conn, verdict localsink.Verdict) {
	if verdict == localsink.VerdictDrop {
		b.dropped.Add(1)
		b.held.hold(client)
		return
	}
	b.refused.Add(1)
	reset(client)
}

// connect connects to an endpoint. If the endpoint does not accept and another one may serve the
// client, it tries that. It returns nil if the connection is refused.
func (b *Backend) connect(t *target, sel *selector, client netip.AddrPort) (net.Conn, netip.AddrPort) {
	ctx, cancel := context.WithTimeout(b.ctx, dialTimeout)
	defer cancel()
	for range maxDials {
		endpoint, ok := t.port.pick(t.settings, sel, client, time.Now())
		if !ok {
			return nil, netip.AddrPort{}
		}
		server, err := b.cfg.Dial(ctx, "tcp", endpoint.String())
		if err == nil {
			return server, endpoint
		}
		t.port.release(endpoint)
		b.dialFailures.Add(1)
		b.cfg.Logger.Debug("Cannot connect to endpoint", "service", t.service.name, "endpoint", endpoint, "err", err)
		if !t.settings.retriable(sel) || len(sel.endpoints) < 2 || ctx.Err() != nil {
			break
		}
		sel = sel.without(endpoint)
	}
	return nil, netip.AddrPort{}
}

// A connection is the two sides of a TCP connection that is relayed.
type connection struct {
	client, server net.Conn
	ended          atomic.Int32 // directions
	done           func()       // called after both directions
}

func (c *connection) reset() {
	reset(c.client)
	reset(c.server)
}

// relay starts to copy bytes until both directions have ended, or the backend is closed. Each
// direction has a new goroutine, because the stack of one that has dialled is larger.
func (b *Backend) relay(p *port, c *connection) {
	if !b.connections.add(c) {
		c.reset()
		c.done()
		return
	}
	b.running.Go(func() { b.copyHalf(c, c.server, c.client, &p.toEndpoints) })
	b.running.Go(func() { b.copyHalf(c, c.client, c.server, &p.toClients) })
}

// copyHalf copies one direction of a connection and forwards its end. After an error it
// resets both sides, so that neither takes truncated data for complete.
func (b *Backend) copyHalf(c *connection, to, from net.Conn, count *atomic.Uint64) {
	err := b.copyBytes(to, from, count)
	if err == nil {
		err = closeWrite(to)
	}
	if err != nil {
		c.reset()
	}
	if c.ended.Add(1) < 2 {
		return
	}
	_ = c.client.Close()
	_ = c.server.Close()
	b.connections.remove(c)
	c.done()
}

// closeWrite ends one direction of a connection, or both if it has no half-close.
func closeWrite(to net.Conn) error {
	if to, ok := to.(interface{ CloseWrite() error }); ok {
		return to.CloseWrite()
	}
	return to.Close()
}

// copyBytes copies until from ends. On Linux, io.Copy uses splice(2) between TCP connections, with
// a pipe that it keeps while it waits, and that the runtime keeps until a garbage collection: many
// short exchanges would use up the descriptors. Therefore copyBytes waits without a buffer, copies
// what is readable through one, and calls io.Copy only after bulkBytes, for pipeTime at a time.
func (b *Backend) copyBytes(to, from net.Conn, count *atomic.Uint64) error {
	raw := waitable(from)
	if raw == nil {
		n, err := io.Copy(to, from)
		count.Add(uint64(n))
		return err
	}
	for {
		if err := waitReadable(raw); err != nil {
			return err
		}
		n, err := b.copyReadable(to, from)
		count.Add(uint64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n < bulkBytes {
			continue
		}
		if isEnd, err := copyBulk(to, from, count); isEnd || err != nil {
			return err
		}
	}
}

// copyReadable copies what one read returns; from must be readable. The error is [io.EOF] at the
// end of from.
func (b *Backend) copyReadable(to io.Writer, from io.Reader) (int, error) {
	buffer := b.buffers.get()
	defer b.buffers.put(buffer)
	n, err := from.Read(buffer[:])
	if n > 0 {
		if _, err := to.Write(buffer[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// copyBulk copies for pipeTime; it reports whether from has ended.
func copyBulk(to, from net.Conn, count *atomic.Uint64) (isEnd bool, err error) {
	if err := from.SetReadDeadline(time.Now().Add(pipeTime)); err != nil {
		return false, err
	}
	n, err := io.Copy(to, from)
	count.Add(uint64(n))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err == nil, err
	}
	return false, from.SetReadDeadline(time.Time{})
}

// reset closes a TCP connection with RST.
func reset(c net.Conn) {
	if c, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}

// addrPort returns the address of a TCP or UDP socket. IPv4 addresses are not in IPv6 form.
func addrPort(a net.Addr) netip.AddrPort {
	if a, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
	}
	return netip.AddrPort{}
}

// rawConn returns the descriptor of a socket, or nil.
func rawConn(c any) syscall.RawConn {
	if c, ok := c.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// A connectionSet holds the TCP connections that are relayed.
type connectionSet struct {
	mu     sync.Mutex
	all    map[*connection]struct{}
	closed bool
	empty  chan struct{} // closed when there are no connections after drain has begun
}

// add reports whether the set is open.
func (s *connectionSet) add(c *connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.all == nil {
		s.all = map[*connection]struct{}{}
	}
	s.all[c] = struct{}{}
	return true
}

func (s *connectionSet) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, c)
	if s.closed && len(s.all) == 0 {
		s.signalEmpty()
	}
}

func (s *connectionSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// drain closes the set and returns a channel that is closed when it is empty.
func (s *connectionSet) drain() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed, s.empty = true, make(chan struct{})
		if len(s.all) == 0 {
			s.signalEmpty()
		}
	}
	return s.empty
}

func (s *connectionSet) signalEmpty() {
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}

// resetAll resets the remaining connections.
func (s *connectionSet) resetAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		c.reset()
	}
}
