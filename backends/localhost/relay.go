// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// dialTimeout is how long an endpoint may take to accept a connection.
const dialTimeout = 5 * time.Second

// acceptRetryInterval is the pause after a failed accept. The usual cause is the limit on
// file descriptors, and other connections free some soon.
const acceptRetryInterval = 200 * time.Millisecond

// acceptLoop relays all connections of a port until its listener is closed.
func (s *Sink) acceptLoop(p *port, ln net.Listener) {
	for {
		client, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.cfg.Logger.Warn("Cannot accept connection", "address", p.addr, "err", err)
			sleep(s.ctx, acceptRetryInterval)
		case !s.addConnection():
			s.cfg.Logger.Warn("Connection reset, too many connections to node ports on loopback addresses",
				"address", p.addr, "limit", s.cfg.MaxConnections)
			reset(client)
		default:
			s.running.Go(func() {
				defer s.connections.Add(-1)
				s.relay(p, client)
			})
		}
	}
}

// addConnection counts a connection unless there are too many.
func (s *Sink) addConnection() bool {
	if n := s.connections.Add(1); s.cfg.MaxConnections > 0 && n > int64(s.cfg.MaxConnections) {
		s.connections.Add(-1)
		return false
	}
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// relay connects client to an endpoint and copies bytes until both directions have ended,
// or the sink is closed.
func (s *Sink) relay(p *port, client net.Conn) {
	endpoint, ok := p.pick(time.Now(), client.RemoteAddr())
	if !ok {
		reset(client)
		return
	}
	defer p.release(endpoint)
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	server, err := s.cfg.Dial(ctx, "tcp", endpoint.String())
	cancel()
	if err != nil {
		s.cfg.Logger.Debug("Cannot connect to endpoint", "address", p.addr, "endpoint", endpoint, "err", err)
		reset(client)
		return
	}
	defer context.AfterFunc(s.ctx, func() { reset(client); reset(server) })()
	failed := make(chan error, 1)
	go func() { failed <- copyHalf(server, client) }()
	err = copyHalf(client, server)
	if err := errors.Join(err, <-failed); err != nil {
		reset(client)
		reset(server)
	}
	_ = client.Close()
	_ = server.Close()
}

// copyHalf copies one direction of a connection and forwards its end. After an error it
// resets both sides, so that neither takes truncated data for complete.
func copyHalf(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	if c, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = c.CloseWrite()
	} else if err == nil {
		err = to.Close()
	}
	if err != nil {
		reset(to)
		reset(from)
	}
	return err
}

// reset closes a TCP connection with RST.
func reset(c net.Conn) {
	if c, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}
