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

// A port is one address that clients dial.
type port struct {
	addr     netip.AddrPort
	service  localsink.ServiceName
	listener net.Listener // nil when it is not open
	err      error        // why

	mu        sync.Mutex
	endpoints []netip.AddrPort
	affinity  time.Duration
	// All clients are one, so there is one pin; it ends when no connection has used it
	// for the time of the affinity.
	pin  netip.AddrPort
	used time.Time
}

// set replaces where new connections go. A pin that is no longer right is gone.
func (p *port) set(endpoints []netip.AddrPort, affinity time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if affinity != p.affinity || !slices.Contains(endpoints, p.pin) {
		p.pin = netip.AddrPort{}
	}
	p.endpoints, p.affinity = endpoints, affinity
}

// pick returns the endpoint of a new connection. There is always one: without endpoints
// there is no port.
func (p *port) pick(now time.Time) netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	to := p.pin
	if p.affinity <= 0 || !to.IsValid() || now.Sub(p.used) >= p.affinity {
		to = p.endpoints[rand.IntN(len(p.endpoints))]
	}
	p.pin, p.used = to, now
	return to
}
