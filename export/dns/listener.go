// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

const (
	defaultMaxConnections = 1000
	// idleTimeout ends a TCP connection without a query, and one that does not read its response.
	idleTimeout = 10 * time.Second
	// maxQuery is the maximum size of a query over UDP. What is longer is cut, and malformed.
	maxQuery = 4096
	// listenAttempts is the number of ports that are tried for port 0, whose TCP port may be in use
	// with UDP.
	listenAttempts = 10
	// pauseAfterError is the time after which an accept is tried again, as without file descriptors.
	pauseAfterError = 50 * time.Millisecond
)

// A Listener is an address that receives queries over UDP and TCP.
type Listener struct {
	tcp *net.TCPListener
	udp *net.UDPConn

	mu    sync.Mutex
	conns map[net.Conn]time.Time // with the time of their start
}

// Listen listens at an address, HOST:PORT. With an unspecified host, responses have the source address
// that the kernel prefers, which clients of other addresses of this machine ignore. The caller passes
// the result to [Server.Run], which closes it.
func Listen(ctx context.Context, address string) (*Listener, error) {
	for attempt := 1; ; attempt++ {
		l, err := listen(ctx, address)
		if err == nil {
			return l, nil
		}
		if _, port, _ := net.SplitHostPort(address); port != "0" || attempt == listenAttempts {
			return nil, fmt.Errorf("dns: listen at %q: %w", address, err)
		}
	}
}

func listen(ctx context.Context, address string) (*Listener, error) {
	var cfg net.ListenConfig
	stream, err := cfg.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := stream.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(errors.New("not a TCP listener"), stream.Close())
	}
	packets, err := cfg.ListenPacket(ctx, "udp", tcp.Addr().String())
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	udp, ok := packets.(*net.UDPConn)
	if !ok {
		return nil, errors.Join(errors.New("not a UDP socket"), tcp.Close(), packets.Close())
	}
	return &Listener{tcp: tcp, udp: udp, conns: map[net.Conn]time.Time{}}, nil
}

// Addr returns the address, with the port that was chosen for port 0.
func (l *Listener) Addr() netip.AddrPort {
	addr, _ := netip.ParseAddrPort(l.tcp.Addr().String())
	return addr
}

// Close closes a listener that is not passed to Run.
func (l *Listener) Close() error { return errors.Join(l.tcp.Close(), l.udp.Close()) }

// serve answers queries until ctx is done. All its goroutines have ended when it returns.
func (l *Listener) serve(ctx context.Context, s *Server) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	errs := make(chan error, 1+runtime.GOMAXPROCS(0))
	for range runtime.GOMAXPROCS(0) {
		running.Go(func() { errs <- l.serveUDP(ctx, s); cancel() })
	}
	running.Go(func() { errs <- l.serveTCP(ctx, s, &running); cancel() })
	<-ctx.Done()
	err := l.Close()
	l.mu.Lock()
	for conn := range l.conns {
		_ = conn.Close() // its goroutine ends
	}
	l.mu.Unlock()
	running.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	return err
}

// serveUDP answers packets. Several goroutines share the socket.
func (l *Listener) serveUDP(ctx context.Context, s *Server) error {
	in, out := make([]byte, maxQuery), make([]byte, 0, s.cfg.MaxUDP+maxQuery)
	for {
		n, from, err := l.udp.ReadFromUDPAddrPort(in)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the end of ctx is no error
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // an error of the network about an earlier packet
			continue
		}
		if response := s.respond(in[:n], out, true); response != nil {
			_, _ = l.udp.WriteToUDPAddrPort(response, from) // the client tries again
		}
	}
}

// serveTCP accepts connections.
func (l *Listener) serveTCP(ctx context.Context, s *Server, running *sync.WaitGroup) error {
	for {
		conn, err := l.tcp.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.cfg.Logger.WarnContext(ctx, "Connection not accepted", "address", l.Addr().String(), "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pauseAfterError):
			}
			continue
		}
		l.track(conn, s.cfg.MaxConnections)
		running.Go(func() {
			l.serveConn(s, conn)
			l.mu.Lock()
			delete(l.conns, conn)
			l.mu.Unlock()
			_ = conn.Close()
		})
		if ctx.Err() != nil {
			_ = conn.Close()
		}
	}
}

// track adds a connection, and closes the oldest if there are too many.
func (l *Listener) track(conn net.Conn, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.conns) >= limit {
		var oldest net.Conn
		for c, since := range l.conns {
			if oldest == nil || since.Before(l.conns[oldest]) {
				oldest = c
			}
		}
		delete(l.conns, oldest)
		_ = oldest.Close() // its goroutine ends
	}
	l.conns[conn] = time.Now()
}

// serveConn answers the queries of a connection in order, until it ends or is idle.
func (l *Listener) serveConn(s *Server, conn net.Conn) {
	var length [2]byte
	var in, out []byte
	for {
		if conn.SetDeadline(time.Now().Add(idleTimeout)) != nil {
			return
		}
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(length[:]))
		if cap(in) < n {
			in = make([]byte, n)
		}
		if _, err := io.ReadFull(conn, in[:n]); err != nil {
			return
		}
		response := s.respond(in[:n], out[:0], false)
		if response == nil {
			return
		}
		out = response
		frame := append(binary.BigEndian.AppendUint16(make([]byte, 0, len(length)+len(response)), uint16(len(response))), response...)
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}
