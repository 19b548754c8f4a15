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
		default:
			s.running.Go(func() { s.relay(p, client) })
		}
	}
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
	s.connections.Add(1)
	defer s.connections.Add(-1)
	endpoint := p.pick(time.Now())
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
