// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// retryInterval is the time after which the sink requests a resync because a port could not
// be opened.
const retryInterval = 5 * time.Second

// openPorts tries to open all closed and failed ports.
func (s *Sink) openPorts(ctx context.Context) {
	for _, p := range slices.Collect(maps.Values(s.unopened)) { // no lock: only Sync writes
		if ctx.Err() != nil {
			return
		}
		network := "tcp6"
		if p.addr.Addr().Is4() {
			network = "tcp4"
		}
		ln, err := s.cfg.Listen(ctx, network, p.addr.String())
		if err != nil {
			s.failures[p.family()].Add(1)
			s.setFailed(p, fmt.Errorf("localhost: Service %s: spec.ports[].nodePort %d: %w", p.service, p.addr.Port(), err))
			continue
		}
		s.mu.Lock()
		delete(s.unopened, p.addr)
		p.listener, p.err = ln, nil
		s.open[p.family()]++
		s.mu.Unlock()
		s.running.Go(func() { s.acceptLoop(p, ln) }) //nolint:contextcheck // connections end with s.ctx, not with Sync
	}
	if len(s.unopened) > 0 {
		s.retryTimer.Reset(retryInterval)
	}
}

// setFailed records and logs why a port is not open. It logs a reason once.
func (s *Sink) setFailed(p *port, err error) {
	if p.err == nil || p.err.Error() != err.Error() {
		s.cfg.Logger.Error("Cannot open node port on loopback address", "service", p.service, "err", err, "retryAfter", retryInterval)
	}
	s.setUnopened(p, err)
}

// setUnopened records that a port is not open. err is nil before the first attempt.
func (s *Sink) setUnopened(p *port, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.err = err
	s.unopened[p.addr] = p
}

// close closes the listener of a port. Its connections continue.
func (s *Sink) close(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		s.open[p.family()]--
	}
	if s.unopened[p.addr] == p {
		delete(s.unopened, p.addr)
	}
}
