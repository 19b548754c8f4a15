// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A Config configures a Sink. The zero value is ready for use.
type Config struct {
	// Dial connects to an endpoint; nil uses a net.Dialer. The sink calls it from its own
	// goroutines, possibly several at a time: if Sync runs in another network namespace
	// than the process, Dial must enter that namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Listen opens the listeners; nil means that of [net.ListenConfig]. Connections that it
	// accepts must not be closed by anything but their peers.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// MaxConnections is the maximum number of connections that are relayed at a time; each
	// takes two file descriptors. Further ones are reset. 0 means no limit.
	MaxConnections int
	// Logger receives ports that cannot be opened and connections that fail; nil discards
	// them.
	Logger *slog.Logger
}

// A Sink is a localsink.Sink that forwards connections to node ports on loopback
// addresses. If a port cannot be opened, Sync succeeds all the same: NotProgrammed returns
// its Service, and ResyncRequested asks for another attempt. Create it with New.
type Sink struct {
	cfg        Config
	resync     chan struct{}
	retryTimer *time.Timer // requests a resync

	// Shared with the goroutines of connections, which end when ctx does.
	ctx         context.Context
	cancel      context.CancelFunc
	running     sync.WaitGroup
	connections atomic.Int64     // relayed now
	failures    [2]atomic.Uint64 // failed attempts to open a port, by family

	// Owned by Sync and Close.
	addresses []netip.Addr // Node.LoopbackNodePorts
	owned     map[localsink.ServiceName][]netip.AddrPort
	ports     map[netip.AddrPort]*port

	// Only Sync and Close write the fields below; mu guards them against NotProgrammed and
	// Stats.
	mu       sync.Mutex
	unopened map[netip.AddrPort]*port // closed and failed ports
	open     [2]int                   // by family
}

var (
	_ localsink.Sink            = (*Sink)(nil)
	_ localsink.ResyncRequester = (*Sink)(nil)
	_ localsink.FailureReporter = (*Sink)(nil)
)

// New returns a Sink without open ports. The caller must call Close. The error is nil for
// every cfg of this version.
func New(cfg Config) (*Sink, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Listen == nil {
		cfg.Listen = new(net.ListenConfig).Listen
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	s := &Sink{
		cfg:      cfg,
		resync:   make(chan struct{}, 1),
		owned:    map[localsink.ServiceName][]netip.AddrPort{},
		ports:    map[netip.AddrPort]*port{},
		unopened: map[netip.AddrPort]*port{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.retryTimer = time.AfterFunc(time.Hour, s.requestResync)
	s.retryTimer.Stop()
	return s, nil
}

// ResyncRequested implements localsink.ResyncRequester. The channel receives when it is
// time to retry failed ports.
func (s *Sink) ResyncRequested() <-chan struct{} { return s.resync }

func (s *Sink) requestResync() {
	select {
	case s.resync <- struct{}{}:
	default:
	}
}

// NotProgrammed implements localsink.FailureReporter: it returns the Services with failed
// ports.
func (s *Sink) NotProgrammed() map[localsink.ServiceName]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[localsink.ServiceName]error, len(s.unopened))
	for _, p := range s.unopened {
		if p.err != nil {
			all[p.service] = errors.Join(all[p.service], p.err)
		}
	}
	return all
}

// Stats holds the current state and counters since New.
type Stats struct {
	// Listeners is the number of open ports, Unopened of ports that could not be opened.
	Listeners, Unopened int
	// Connections is the number of connections that are being relayed.
	Connections int64
	// OpenFailures counts failed attempts to open a port.
	OpenFailures uint64
	// IPv6 is the part of these numbers about IPv6 addresses.
	IPv6 FamilyStats
}

// FamilyStats is the part of [Stats] about one address family.
type FamilyStats struct {
	Listeners    int
	OpenFailures uint64
}

// Stats returns the current values. It may be called at any time from any goroutine.
func (s *Sink) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		Listeners: s.open[0] + s.open[1], Unopened: len(s.unopened), Connections: s.connections.Load(),
		OpenFailures: s.failures[0].Load() + s.failures[1].Load(),
		IPv6:         FamilyStats{Listeners: s.open[1], OpenFailures: s.failures[1].Load()},
	}
}

// Sync implements localsink.Sink; it fails only if ctx is done. It examines changed
// Services, and all Services if Node.LoopbackNodePorts changed. Established connections
// continue when their endpoint or port is removed.
func (s *Sink) Sync(ctx context.Context, u *localsink.Update) error {
	changed := slices.Values(u.Changed)
	if !slices.Equal(s.addresses, u.Node.LoopbackNodePorts) {
		s.addresses = u.Node.LoopbackNodePorts
		changed = u.All.All()
	}
	// A port that moves between Services is first released, then acquired, and stays open.
	released := map[netip.AddrPort]*port{}
	for _, svc := range u.Removed {
		s.release(svc.Name, nil, released)
	}
	desired := map[localsink.ServiceName][]desiredPort{}
	for svc := range changed {
		if d := s.desiredPorts(svc); len(d) > 0 || len(s.owned[svc.Name]) > 0 {
			desired[svc.Name] = d
			s.release(svc.Name, d, released)
		}
	}
	for name, d := range desired {
		s.acquire(name, d, released)
	}
	for _, p := range released {
		s.close(p)
	}
	s.openPorts(ctx)
	return ctx.Err()
}

// A desiredPort is the desired state of one port.
type desiredPort struct {
	addr      netip.AddrPort
	endpoints []localsink.Endpoint // not empty
	selection localsink.Selection
	refused   uint16 // share of new connections in 1/1000
	affinity  time.Duration
}

// desiredPorts returns the desired ports of a Service. A node port without endpoints, or with
// a refused share of all connections, is not among them, so that the kernel refuses
// connections.
func (s *Sink) desiredPorts(svc *localsink.Service) []desiredPort {
	var all []desiredPort
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol != localsink.ProtocolTCP || p.RefusedPerMille >= 1000 && p.Affinity == 0 {
			continue
		}
		for _, fe := range p.Frontends {
			for _, a := range s.addresses {
				if fe.Kind != localsink.KindNodePort || fe.Addr.Addr().Is4() != a.Is4() {
					continue
				}
				if endpoints := endpointsFor(p, &fe, a); len(endpoints) > 0 {
					all = append(all, desiredPort{netip.AddrPortFrom(a, fe.Addr.Port()), endpoints, p.Selection, p.RefusedPerMille, p.Affinity})
				}
			}
		}
	}
	return all
}

// endpointsFor returns the endpoints of a client on this node that has the address client.
func endpointsFor(p *localsink.Port, fe *localsink.Frontend, client netip.Addr) []localsink.Endpoint {
	if fe.SourceRanges != nil && !slices.ContainsFunc(fe.SourceRanges, func(n netip.Prefix) bool { return n.Contains(client) }) {
		return nil
	}
	i := slices.IndexFunc(fe.Routes, func(r localsink.Route) bool { return r.From != localsink.FromLocalPods })
	if i < 0 {
		return nil
	}
	return p.Pools[fe.Routes[i].Pool].Endpoints
}

// release moves the ports of a Service that are not desired to released.
func (s *Sink) release(name localsink.ServiceName, desired []desiredPort, released map[netip.AddrPort]*port) {
	s.owned[name] = slices.DeleteFunc(s.owned[name], func(a netip.AddrPort) bool {
		if slices.ContainsFunc(desired, func(d desiredPort) bool { return d.addr == a }) {
			return false
		}
		released[a] = s.ports[a]
		delete(s.ports, a)
		return true
	})
	if len(s.owned[name]) == 0 {
		delete(s.owned, name)
	}
}

// acquire makes a Service the owner of its desired ports. It takes them from released, or
// creates them closed.
func (s *Sink) acquire(name localsink.ServiceName, desired []desiredPort, released map[netip.AddrPort]*port) {
	for _, d := range desired {
		p := s.ports[d.addr]
		if p == nil {
			if p = released[d.addr]; p == nil {
				p = &port{addr: d.addr}
				s.setUnopened(p, nil)
			}
			delete(released, d.addr)
			s.ports[d.addr] = p
			s.owned[name] = append(s.owned[name], d.addr)
		}
		s.setOwner(p, name)
		p.set(d)
	}
}

func (s *Sink) setOwner(p *port, name localsink.ServiceName) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.service = name
}

// Close closes all ports, resets all connections, waits until their goroutines have ended,
// and returns nil. Sync must not run during or after Close.
func (s *Sink) Close() error {
	s.retryTimer.Stop()
	s.cancel()
	for a, p := range s.ports {
		s.close(p)
		delete(s.ports, a)
	}
	clear(s.owned)
	s.running.Wait()
	return nil
}
