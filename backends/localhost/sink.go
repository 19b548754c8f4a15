// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// retryAfter is how long after a port could not be opened it is tried again.
	retryAfter = 5 * time.Second
	// dialTimeout is how long an endpoint may take to accept a connection.
	dialTimeout = 5 * time.Second
)

// A Config is how to pass connections on. The zero value is ready for use.
type Config struct {
	// Dial connects to an endpoint; nil dials from wherever the process is. It is called
	// by goroutines of the sink: where these are not in the network namespace in which
	// Sync opens ports, Dial must enter it.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger is told of ports that cannot be opened, and of connections that fail; nil is
	// silent.
	Logger *slog.Logger
}

// A Sink is a localsink.Sink; make it with New. A port that cannot be opened fails no
// Sync: it is reported, and tried again.
type Sink struct {
	cfg     Config
	damaged chan struct{}
	retry   *time.Timer

	// What connections need: they end with ctx, and are waited for.
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup
	active  atomic.Int64
	failed  atomic.Uint64

	// The following belong to Sync.
	addresses []netip.Addr
	held      map[localsink.ServiceName][]netip.AddrPort
	ports     map[netip.AddrPort]*port

	// shut are ports that could not be opened. mu is for readers beside Sync.
	mu   sync.Mutex
	shut map[netip.AddrPort]*port
	open int
}

var (
	_ localsink.Sink            = (*Sink)(nil)
	_ localsink.ResyncRequester = (*Sink)(nil)
	_ localsink.FailureReporter = (*Sink)(nil)
)

// New returns a sink that has no ports open yet. It must be closed.
func New(cfg Config) *Sink {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	s := &Sink{
		cfg:     cfg,
		damaged: make(chan struct{}, 1),
		held:    map[localsink.ServiceName][]netip.AddrPort{},
		ports:   map[netip.AddrPort]*port{},
		shut:    map[netip.AddrPort]*port{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.retry = time.AfterFunc(time.Hour, s.tryAgain)
	s.retry.Stop()
	return s
}

// ResyncRequested implements localsink.Repairer: it asks for another attempt at ports that could
// not be opened.
func (s *Sink) ResyncRequested() <-chan struct{} { return s.damaged }

func (s *Sink) tryAgain() {
	select {
	case s.damaged <- struct{}{}:
	default:
	}
}

// NotProgrammed implements localsink.Partial.
func (s *Sink) NotProgrammed() map[localsink.ServiceName]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[localsink.ServiceName]error, len(s.shut))
	for _, p := range s.shut {
		if p.err != nil {
			all[p.service] = errors.Join(all[p.service], p.err)
		}
	}
	return all
}

// Stats are about what a sink does now, and since New.
type Stats struct {
	// Listeners is how many ports are open, Unopened how many cannot be opened.
	Listeners, Unopened int
	// Connections is how many are passed on now.
	Connections int64
	// OpenFailures is how often a port could not be opened.
	OpenFailures uint64
}

// Stats may be called at any time, from any goroutine.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Listeners: s.open, Unopened: len(s.shut), Connections: s.active.Load(), OpenFailures: s.failed.Load()}
}

// Sync implements localsink.Sink; it fails only when ctx is done. It looks at the Services that have
// changed, and at all of them only when the node's loopback addresses have.
func (s *Sink) Sync(ctx context.Context, u *localsink.Update) error {
	changed := slices.Values(u.Changed)
	if !slices.Equal(s.addresses, u.Node.LoopbackNodePorts) {
		s.addresses = u.Node.LoopbackNodePorts
		changed = u.All.All()
	}
	free := map[netip.AddrPort]*port{} // given up by one Service, perhaps for another
	for _, svc := range u.Removed {
		s.release(svc.Name, nil, free)
	}
	wanted := map[localsink.ServiceName][]target{}
	for svc := range changed {
		if w := s.targets(svc); len(w) > 0 || len(s.held[svc.Name]) > 0 {
			wanted[svc.Name] = w
			s.release(svc.Name, w, free)
		}
	}
	for name, w := range wanted {
		s.claim(name, w, free)
	}
	for _, p := range free {
		s.close(p)
	}
	s.openPorts(ctx)
	return ctx.Err()
}

// A target is what is wanted of one port.
type target struct {
	addr      netip.AddrPort
	endpoints []netip.AddrPort
	affinity  time.Duration
}

// targets returns what a Service wants: nothing where it has no endpoints, so that clients
// are refused.
func (s *Sink) targets(svc *localsink.Service) []target {
	var all []target
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol != localsink.ProtocolTCP {
			continue
		}
		for _, fe := range p.Frontends {
			for _, a := range s.addresses {
				if fe.Kind != localsink.KindNodePort || fe.Addr.Addr().Is4() != a.Is4() {
					continue
				}
				if to := endpoints(p, &fe, a); len(to) > 0 {
					all = append(all, target{netip.AddrPortFrom(a, fe.Addr.Port()), to, p.Affinity})
				}
			}
		}
	}
	return all
}

// endpoints returns where a client that is this node, and has the address, is sent.
func endpoints(p *localsink.Port, fe *localsink.Frontend, client netip.Addr) []netip.AddrPort {
	if fe.SourceRanges != nil && !slices.ContainsFunc(fe.SourceRanges, func(n netip.Prefix) bool { return n.Contains(client) }) {
		return nil
	}
	i := slices.IndexFunc(fe.Routes, func(r localsink.Route) bool { return r.From != localsink.FromLocalPods })
	if i < 0 {
		return nil
	}
	var all []netip.AddrPort
	for _, e := range p.Pools[fe.Routes[i].Pool].Endpoints {
		all = append(all, e.Addr)
	}
	return all
}

// release takes from a Service the ports that it no longer wants.
func (s *Sink) release(name localsink.ServiceName, want []target, free map[netip.AddrPort]*port) {
	s.held[name] = slices.DeleteFunc(s.held[name], func(a netip.AddrPort) bool {
		if slices.ContainsFunc(want, func(t target) bool { return t.addr == a }) {
			return false
		}
		free[a] = s.ports[a]
		delete(s.ports, a)
		return true
	})
	if len(s.held[name]) == 0 {
		delete(s.held, name)
	}
}

// claim gives a Service the ports that it wants, open or not.
func (s *Sink) claim(name localsink.ServiceName, want []target, free map[netip.AddrPort]*port) {
	for _, t := range want {
		p := s.ports[t.addr]
		if p == nil {
			if p = free[t.addr]; p == nil {
				p = &port{addr: t.addr}
				s.setShut(p, nil)
			}
			delete(free, t.addr)
			s.ports[t.addr] = p
			s.held[name] = append(s.held[name], t.addr)
		}
		s.setOwner(p, name)
		p.set(t.endpoints, t.affinity)
	}
}

func (s *Sink) setOwner(p *port, name localsink.ServiceName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.service = name
}

// setShut notes that a port is not open, and why; a nil error says that it is yet to be
// tried.
func (s *Sink) setShut(p *port, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.err = err
	s.shut[p.addr] = p
}

// close ends a port. Its connections go on.
func (s *Sink) close(p *port) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		s.open--
	}
	if s.shut[p.addr] == p {
		delete(s.shut, p.addr)
	}
}

// openPorts opens the ports that are shut.
func (s *Sink) openPorts(ctx context.Context) {
	for _, p := range slices.Collect(maps.Values(s.shut)) { // only Sync writes
		if ctx.Err() != nil {
			return
		}
		network := "tcp6"
		if p.addr.Addr().Is4() {
			network = "tcp4"
		}
		ln, err := new(net.ListenConfig).Listen(ctx, network, p.addr.String())
		if err != nil {
			s.failed.Add(1)
			s.report(p, fmt.Errorf("localhost: Service %s: spec.ports[].nodePort %d: %w", p.service, p.addr.Port(), err))
			continue
		}
		s.mu.Lock()
		delete(s.shut, p.addr)
		p.listener, p.err = ln, nil
		s.open++
		s.mu.Unlock()
		s.running.Go(func() { s.accept(p, ln) })
	}
	if len(s.shut) > 0 {
		s.retry.Reset(retryAfter)
	}
}

func (s *Sink) report(p *port, err error) {
	if p.err == nil || p.err.Error() != err.Error() {
		s.cfg.Logger.Error("A node port does not answer on a loopback address, will try again", "service", p.service, "err", err)
	}
	s.setShut(p, err)
}

// Close closes all ports and all connections, and returns when nothing runs any more. Sync
// must not be called again.
func (s *Sink) Close() {
	s.retry.Stop()
	s.cancel()
	for a, p := range s.ports {
		s.close(p)
		delete(s.ports, a)
	}
	clear(s.held)
	s.running.Wait()
}
