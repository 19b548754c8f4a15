// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A port is one loopback address and node port.
type port struct {
	addr netip.AddrPort

	// Written by Sync while it holds Sink.mu.
	service  localsink.ServiceName
	listener net.Listener // nil unless the port is open
	err      error        // why the port could not be opened

	mu          sync.Mutex // guards the fields below
	selector    *selector
	refused     uint16                 // share of new connections in 1/1000
	affinity    time.Duration          // 0 disables it
	connections map[netip.AddrPort]int // that are relayed, by endpoint
	// All clients have the same address, so one affinity entry serves them all. It expires
	// when no new connection has used it for the duration of the affinity.
	affinityEndpoint netip.AddrPort // invalid if there is no entry
	lastUsed         time.Time
}

// family returns the index of the port's family in counters.
func (p *port) family() int {
	if p.addr.Addr().Is4() {
		return 0
	}
	return 1
}

// set replaces what new connections depend on. The affinity entry is removed if its endpoint
// is, or if the affinity changes.
func (p *port) set(d desiredPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.selector.is(d.selection, d.endpoints) {
		p.selector = newSelector(d.selection, d.endpoints)
	}
	if d.affinity != p.affinity || !p.selector.has(p.affinityEndpoint) {
		p.affinityEndpoint = netip.AddrPort{}
	}
	p.refused, p.affinity = d.refused, d.affinity
}

// pick returns the endpoint of a new connection, or false if the connection is refused. The
// caller calls release with the endpoint when the connection has ended.
func (p *port) pick(now time.Time, client net.Addr) (endpoint netip.AddrPort, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoint = p.affinityEndpoint
	if p.affinity <= 0 || !endpoint.IsValid() || now.Sub(p.lastUsed) >= p.affinity {
		if p.refused > 0 && rand.IntN(1000) < int(p.refused) {
			return netip.AddrPort{}, false
		}
		endpoint = p.selector.pick(client, p.connections)
	}
	p.affinityEndpoint, p.lastUsed = endpoint, now
	if p.connections == nil {
		p.connections = map[netip.AddrPort]int{}
	}
	p.connections[endpoint]++
	return endpoint, true
}

// release reports the end of a connection to an endpoint.
func (p *port) release(endpoint netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.connections[endpoint]; n > 1 {
		p.connections[endpoint] = n - 1
	} else {
		delete(p.connections, endpoint)
	}
}
