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

// pauseAfter is how long no connection is accepted after one could not be: it is usually a
// lack of something that others give back soon.
const pauseAfter = 200 * time.Millisecond

// accept passes on all connections of a port until that is closed.
func (s *Sink) accept(p *port, ln net.Listener) {
	for {
		client, err := ln.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			s.cfg.Logger.Warn("Cannot accept a connection", "address", p.addr, "err", err)
			pause(s.ctx, pauseAfter)
		default:
			s.running.Go(func() { s.pass(p, client) })
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// pass connects a client with an endpoint until both have ended, or the sink does.
func (s *Sink) pass(p *port, client net.Conn) {
	s.active.Add(1)
	defer s.active.Add(-1)
	to := p.pick(time.Now())
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	server, err := s.cfg.Dial(ctx, "tcp", to.String())
	cancel()
	if err != nil {
		s.cfg.Logger.Debug("An endpoint cannot be reached", "address", p.addr, "endpoint", to, "err", err)
		abort(client)
		return
	}
	defer context.AfterFunc(s.ctx, func() { abort(client); abort(server) })()
	failed := make(chan error, 1)
	go func() { failed <- half(server, client) }()
	err = half(client, server)
	if err := errors.Join(err, <-failed); err != nil {
		abort(client)
		abort(server)
	}
	_ = client.Close()
	_ = server.Close()
}

// half copies one direction, and passes its end on. What ends in an error ends both
// directions: nobody must take what came so far for the whole.
func half(to, from net.Conn) error {
	_, err := io.Copy(to, from)
	if c, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = c.CloseWrite()
	} else if err == nil {
		err = to.Close()
	}
	if err != nil {
		abort(to)
		abort(from)
	}
	return err
}

// abort closes a connection by a reset.
func abort(c net.Conn) {
	if c, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}
