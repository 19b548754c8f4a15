// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// Stats holds the present state and counters since New.
type Stats struct {
	// Listeners is the number of open addresses, Unopened that of addresses that must be open
	// and are not.
	Listeners, Unopened int
	// Connections is the number of TCP connections that are relayed, Sessions that of UDP.
	Connections int
	Sessions    int64
	// Refused and Dropped count the connections that were accepted and then reset or held
	// without an answer, and UDP clients; the kernel refuses others.
	Refused, Dropped uint64
	// AtLimit counts how often a limit of connections was reached.
	AtLimit uint64
	// DialFailures counts endpoints that did not accept a connection.
	DialFailures uint64
	// OpenFailures counts failed attempts to open an address.
	OpenFailures uint64
	// IPv6 is the part of these numbers about IPv6 addresses.
	IPv6 FamilyStats
}

// FamilyStats is the part of [Stats] about one address family.
type FamilyStats struct {
	Listeners    int
	OpenFailures uint64
}

// Stats returns the present values. It may be called at any time from any goroutine.
func (b *Backend) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return Stats{
		Listeners: b.open[0] + b.open[1], Unopened: len(b.unopened), Connections: b.connections.len(), Sessions: b.sessions.Load(),
		Refused: b.refused.Load(), Dropped: b.dropped.Load(), AtLimit: b.atLimit.Load(), DialFailures: b.dialFailures.Load(),
		OpenFailures: b.openFailures[0].Load() + b.openFailures[1].Load(),
		IPv6:         FamilyStats{Listeners: b.open[1], OpenFailures: b.openFailures[1].Load()},
	}
}

// A Listener is a local address at which a frontend is served.
type Listener struct {
	Service  localsink.ServiceName
	Port     string // the name of the port
	Protocol localsink.Protocol
	Kind     localsink.FrontendKind
	Frontend netip.AddrPort
	// Local is the address. Its port is 0 if the system has not selected one yet.
	Local netip.AddrPort
	// Endpoints is the number of distinct endpoints of the port.
	Endpoints int
	// Open reports whether the socket is open. It is not, without an error, if all clients
	// are rejected: then the kernel does that.
	Open bool
	// Err is why the socket could not be opened.
	Err error
}

// Listeners returns all listeners in the order of Services and ports. It may be called at any
// time from any goroutine.
func (b *Backend) Listeners() []Listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []Listener
	for _, s := range b.sortedServices() {
		for _, c := range s.claims {
			l := b.listeners[c.address]
			if l.claims[0] != c {
				continue
			}
			local := l.local
			if local.Port() == 0 && l.bound.IsValid() {
				local = l.bound
			}
			all = append(all, Listener{s.name, c.id.port.name, l.protocol, c.id.kind, c.id.addr, local, len(c.target.settings.addresses()), l.open != nil, l.err})
		}
	}
	return all
}

// PortTraffic is what a port of a Service has relayed.
type PortTraffic struct {
	Port     string
	Protocol localsink.Protocol
	// Connections is the number of present TCP connections or UDP sessions.
	Connections int
	// BytesToEndpoints and BytesToClients are up to a second old for a connection that is busy.
	BytesToEndpoints, BytesToClients uint64
}

// Traffic returns what the ports of a Service have relayed, ordered by name and protocol; nil if
// the Service is not served.
func (b *Backend) Traffic(name localsink.ServiceName) []PortTraffic {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.services[name]
	if s == nil {
		return nil
	}
	var all []PortTraffic
	for _, id := range s.portIDs() {
		p := s.ports[id]
		all = append(all, PortTraffic{id.name, id.protocol, p.connections(), p.toEndpoints.Load(), p.toClients.Load()})
	}
	return all
}

// portIDs returns the IDs of the ports in order.
func (s *service) portIDs() []portID {
	ids := make([]portID, 0, len(s.ports))
	for id := range s.ports {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, comparePorts)
	return ids
}

func comparePorts(a, b portID) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.index, b.index))
}

// CountsConnections implements localsink.ConnectionCounter.
func (b *Backend) CountsConnections() bool { return true }

// FrontendConnections implements localsink.ConnectionCounter. Connections that the kernel
// refuses, because there is no endpoint, are not counted.
func (b *Backend) FrontendConnections(_ context.Context, name localsink.ServiceName) ([]localsink.FrontendConnections, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.services[name]
	if s == nil {
		return nil, fmt.Errorf("userspace: Service %s: not programmed", name)
	}
	var all []localsink.FrontendConnections
	for id, count := range s.counts {
		all = append(all, localsink.FrontendConnections{Port: id.port.name, Protocol: id.port.protocol, Kind: id.kind, Addr: id.addr, Count: count.Load()})
	}
	slices.SortFunc(all, func(x, y localsink.FrontendConnections) int {
		return cmp.Or(cmp.Compare(x.Port, y.Port), cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.Kind, y.Kind), x.Addr.Compare(y.Addr))
	})
	return all, nil
}

// EndpointConnections implements localsink.ConnectionCounter. The connections to all frontends
// of a port are counted together.
func (b *Backend) EndpointConnections(_ context.Context, name localsink.ServiceName) ([]localsink.EndpointConnections, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.services[name]
	if s == nil {
		return nil, fmt.Errorf("userspace: Service %s: not programmed", name)
	}
	var all []localsink.EndpointConnections
	for _, id := range s.portIDs() {
		for _, endpoint := range s.ports[id].settings.Load().addresses() {
			all = append(all, localsink.EndpointConnections{
				Port: id.name, Protocol: id.protocol, Endpoint: endpoint, Count: s.ports[id].total(endpoint),
			})
		}
	}
	return all, nil
}
