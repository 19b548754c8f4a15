// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
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

	mu        sync.Mutex // guards the fields below
	endpoints []netip.AddrPort
	affinity  time.Duration // 0 disables it
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

// set replaces the endpoints of new connections. The affinity entry is removed if its
// endpoint is, or if the affinity changes.
func (p *port) set(endpoints []netip.AddrPort, affinity time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if affinity != p.affinity || !slices.Contains(endpoints, p.affinityEndpoint) {
		p.affinityEndpoint = netip.AddrPort{}
	}
	p.endpoints, p.affinity = endpoints, affinity
}

// pick returns the endpoint of a new connection. p.endpoints is never empty: desiredPorts
// leaves out node ports without endpoints.
func (p *port) pick(now time.Time) netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	endpoint := p.affinityEndpoint
	if p.affinity <= 0 || !endpoint.IsValid() || now.Sub(p.lastUsed) >= p.affinity {
		endpoint = p.endpoints[rand.IntN(len(p.endpoints))]
	}
	p.affinityEndpoint, p.lastUsed = endpoint, now
	return endpoint
}
