// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A portSettings is the desired state of a port of a Service. It is immutable.
type portSettings struct {
	selectors []*selector // by pool
	draining  []netip.AddrPort
	refused   uint16 // share of new connections in 1/1000
	affinity  time.Duration
}

// newPortSettings returns the settings of a port. It keeps selectors of the previous settings,
// which may be nil, whose pools are equal.
func newPortSettings(p *localsink.Port, previous *portSettings) *portSettings {
	s := &portSettings{draining: p.Draining, refused: p.RefusedPerMille, affinity: p.Affinity}
	for i, pool := range p.Pools {
		if previous != nil && i < len(previous.selectors) && previous.selectors[i].is(p.Selection, pool.Endpoints) {
			s.selectors = append(s.selectors, previous.selectors[i])
		} else {
			s.selectors = append(s.selectors, newSelector(p.Selection, pool.Endpoints))
		}
	}
	return s
}

// has reports whether an endpoint is in a pool.
func (s *portSettings) has(endpoint netip.AddrPort) bool {
	return slices.ContainsFunc(s.selectors, func(sel *selector) bool { return sel.has(endpoint) })
}

// keeps reports whether UDP sessions with an endpoint continue.
func (s *portSettings) keeps(endpoint netip.AddrPort) bool {
	return s.has(endpoint) || slices.Contains(s.draining, endpoint)
}

// addresses returns the distinct endpoints in the pools, in order.
func (s *portSettings) addresses() []netip.AddrPort {
	var all []netip.AddrPort
	for _, sel := range s.selectors {
		for _, e := range sel.endpoints {
			all = append(all, e.Addr)
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all)
}

// A port is a port of a Service: what its frontends share and connections change.
type port struct {
	settings atomic.Pointer[portSettings] // written by Sync

	toEndpoints, toClients atomic.Uint64 // bytes

	mu        sync.Mutex // guards the fields below
	affinity  affinityTable
	endpoints map[netip.AddrPort]*endpointCounts
}

// An endpointCounts holds the connections of a port to an endpoint.
type endpointCounts struct {
	active int
	total  uint64
}

// keptEndpoints is the number of removed endpoints whose counts are kept, beside twice as many
// as there are present ones.
const keptEndpoints = 64

// set replaces what new connections depend on.
func (p *port) set(s *portSettings) {
	p.settings.Store(s)
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.affinity == 0 {
		p.affinity = nil
	}
	p.affinity.deleteFunc(func(e affinityEntry) bool { return !s.has(e.endpoint) })
	if len(p.endpoints) > keptEndpoints+3*len(s.addresses()) {
		for addr, counts := range p.endpoints {
			if counts.active == 0 && !s.has(addr) {
				delete(p.endpoints, addr)
			}
		}
	}
}

// pick returns the endpoint of a new connection to one of the endpoints of sel, or false if the
// connection is refused. The caller calls release with the endpoint when the connection has
// ended.
func (p *port) pick(s *portSettings, sel *selector, client netip.AddrPort, now time.Time) (netip.AddrPort, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoint, found := p.affinity.get(client.Addr(), now, s.affinity)
	if !found || !sel.has(endpoint) {
		if s.refused > 0 && rand.IntN(1000) < int(s.refused) {
			return netip.AddrPort{}, false
		}
		endpoint = sel.pick(client, p.active)
	}
	if s.affinity > 0 {
		p.affinity.put(client.Addr(), affinityEntry{endpoint, now}, s.affinity)
	}
	counts := p.endpoints[endpoint]
	if counts == nil {
		if p.endpoints == nil {
			p.endpoints = map[netip.AddrPort]*endpointCounts{}
		}
		counts = &endpointCounts{}
		p.endpoints[endpoint] = counts
	}
	counts.active++
	counts.total++
	return endpoint, true
}

// active returns the number of present connections to an endpoint; p.mu must be held.
func (p *port) active(endpoint netip.AddrPort) int {
	if c := p.endpoints[endpoint]; c != nil {
		return c.active
	}
	return 0
}

// release reports the end of a connection to an endpoint.
func (p *port) release(endpoint netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endpoints[endpoint].active--
}

// connections returns the number of present connections.
func (p *port) connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, c := range p.endpoints {
		n += c.active
	}
	return n
}

// total returns the number of connections to an endpoint so far.
func (p *port) total(endpoint netip.AddrPort) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.endpoints[endpoint]; c != nil {
		return c.total
	}
	return 0
}

// retriable reports whether a connection may go to another endpoint if the first one does not
// accept it: neither the client's address nor its flow determines the endpoint.
func (s *portSettings) retriable(sel *selector) bool { return s.affinity == 0 && !sel.isConsistent() }
