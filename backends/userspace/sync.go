// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"sigs.k8s.io/kpng/localsink"
)

// Sync implements localsink.Sink; it fails only if ctx is done. It examines changed Services,
// and all of them if the node or its addresses have changed. Addresses that cannot be opened do
// not fail it; see NotProgrammed.
func (b *Backend) Sync(ctx context.Context, u *localsink.Update) error {
	addrs, err := b.listAddresses()
	if err != nil {
		b.cfg.Logger.Warn("Cannot list addresses of the node, the previous ones are kept", "err", err)
	}
	b.apply(u, addrs, err == nil)
	b.openAll(ctx)
	b.addressTimer.Reset(addressInterval)
	return ctx.Err()
}

// apply applies all of u, except for opening sockets.
func (b *Backend) apply(u *localsink.Update, addrs []netip.Addr, listed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := slices.Values(u.Changed)
	if nodeChanged := b.node == nil || !b.node.Equal(u.Node); nodeChanged || listed && !slices.Equal(addrs, b.nodeAddrs) {
		b.node = u.Node
		if listed {
			b.nodeAddrs = addrs
		}
		changed = u.All.All()
	}
	from := b.sources()
	affected := map[*listener]struct{}{}
	for _, svc := range u.Removed {
		b.setClaims(svc.Name, nil, affected)
	}
	for svc := range changed {
		b.setClaims(svc.Name, b.claimsOf(svc, from), affected)
	}
	for l := range affected {
		b.settle(l)
	}
	// A listener that drained may be closed now.
	for _, l := range b.listeners {
		if l.draining.Load() {
			b.settle(l)
		}
	}
}

func (b *Backend) sources() sources {
	s := sources{pods: b.node.LocalPods, node: make(map[netip.Addr]bool, len(b.nodeAddrs))}
	for _, a := range b.nodeAddrs {
		s.node[a.WithZone("")] = true
	}
	return s
}

// claimsOf returns the claims of a Service and updates its ports.
func (b *Backend) claimsOf(svc *localsink.Service, from sources) []*claim {
	owner := b.services[svc.Name]
	if owner == nil {
		if !b.maps(svc) {
			return nil
		}
		owner = &service{name: svc.Name, slots: newSlots(b.cfg.MaxConnectionsPerService), ports: map[portID]*port{}, counts: map[frontendID]*atomic.Uint64{}}
	}
	var claims []*claim
	ports := map[portID]*port{}
	counts := map[frontendID]*atomic.Uint64{}
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol != localsink.ProtocolTCP && p.Protocol != localsink.ProtocolUDP {
			continue
		}
		id := portID{name: p.Name, protocol: p.Protocol}
		for ports[id] != nil {
			id.index++
		}
		state := owner.ports[id]
		if state == nil {
			state = &port{}
		}
		state.set(newPortSettings(p, state.settings.Load()))
		ports[id] = state
		claims = append(claims, b.claimsOfPort(owner, id, p, target{service: owner, port: state, settings: state.settings.Load(), sources: from}, counts)...)
	}
	owner.ports, owner.counts = ports, counts
	return claims
}

// maps reports whether any frontend of a Service has local addresses. Of thousands of Services,
// a map usually has a few.
func (b *Backend) maps(svc *localsink.Service) bool {
	for i := range svc.Ports {
		p := &svc.Ports[i]
		for j := range p.Frontends {
			if len(b.cfg.Map(Frontend{Node: b.node, NodeAddrs: b.nodeAddrs, Service: svc.Name, Port: p, Frontend: &p.Frontends[j]})) > 0 {
				return true
			}
		}
	}
	return false
}

// claimsOfPort returns the claims of one port; t holds what they have in common. It adds the
// counts of the frontends to counts.
func (b *Backend) claimsOfPort(owner *service, id portID, p *localsink.Port, t target, counts map[frontendID]*atomic.Uint64) []*claim {
	var claims []*claim
	seen := map[address]bool{}
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		fid := frontendID{owner.name, id, fe.Kind, fe.Addr}
		for _, local := range b.cfg.Map(Frontend{Node: b.node, NodeAddrs: b.nodeAddrs, Service: owner.name, Port: p, Frontend: fe}) {
			a := address{protocol: p.Protocol, local: local}
			if local.Port() == 0 {
				a.owner = fid
			}
			served := fe
			if fe.Kind == localsink.KindNodePort && local.Addr().IsLoopback() {
				var ok bool
				if served, ok = loopbackFrontend(fe, local.Addr()); !ok {
					continue
				}
			}
			if seen[a] {
				continue // the first frontend of the port has the address
			}
			seen[a] = true
			if counts[fid] == nil {
				counts[fid] = owner.counts[fid]
			}
			if counts[fid] == nil {
				counts[fid] = &atomic.Uint64{}
			}
			own := t
			own.frontend, own.count = served, counts[fid]
			claims = append(claims, &claim{a, fid, &own})
		}
	}
	return claims
}

// setClaims replaces the claims of a Service, and adds their listeners to affected.
func (b *Backend) setClaims(name localsink.ServiceName, claims []*claim, affected map[*listener]struct{}) {
	if old := b.services[name]; old != nil {
		for _, c := range old.claims {
			l := b.listeners[c.address]
			l.claims = slices.DeleteFunc(slices.Clone(l.claims), func(other *claim) bool { return other == c })
			affected[l] = struct{}{}
		}
		delete(b.services, name)
	}
	if len(claims) == 0 {
		return
	}
	owner := claims[0].target.service
	owner.claims = claims
	b.services[name] = owner
	for _, c := range claims {
		l := b.listeners[c.address]
		if l == nil {
			l = &listener{address: c.address}
			b.listeners[c.address] = l
		}
		l.claims = append(slices.Clone(l.claims), c)
		slices.SortFunc(l.claims, compareClaims)
		affected[l] = struct{}{}
	}
}

// settle brings a listener into the state that its claims require, except for opening it.
func (b *Backend) settle(l *listener) {
	if len(l.claims) > 1 {
		b.contested[l] = struct{}{}
	} else {
		delete(b.contested, l)
	}
	if len(l.claims) == 0 {
		b.closeListener(l)
		delete(b.listeners, l.address)
		return
	}
	l.target.Store(l.claims[0].target)
	remaining := l.open != nil && l.open.udp != nil && l.open.udp.endStale(l.claims[0].target.settings.keeps)
	switch {
	case l.mustListen():
		l.draining.Store(false)
		if l.open == nil {
			b.unopened[l] = struct{}{}
		}
	case remaining:
		l.draining.Store(true)
	default:
		b.closeListener(l)
	}
}

// closeListener closes a listener. Its TCP connections continue.
func (b *Backend) closeListener(l *listener) {
	l.draining.Store(false)
	l.err = nil
	delete(b.unopened, l)
	if l.open != nil {
		l.open.close()
		l.open = nil
		b.open[family(l.local)]--
	}
}

// sortedServices returns the Services with claims, in name order; mu must be held.
func (b *Backend) sortedServices() []*service {
	return slices.SortedFunc(maps.Values(b.services), func(x, y *service) int { return x.name.Compare(y.name) })
}
