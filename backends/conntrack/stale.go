// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A flow is one entry of the kernel's connection tracking.
type flow struct {
	destination netip.AddrPort // of the client's packets
	replySource netip.AddrPort // the endpoint, or destination if the flow is not translated
}

func (f flow) translated() bool { return f.replySource != f.destination }

// A udpFrontend is a frontend with the endpoints to which its flows may lead. It is
// immutable.
type udpFrontend struct {
	addr      netip.AddrPort // has the unspecified address for a node port
	endpoints map[netip.AddrPort]struct{}
	// passes reports whether some clients have no endpoint and the verdict Pass: their flows
	// are not translated. Flows that another program translates cannot be told from those to
	// a former endpoint, and are removed after a restart; their next packet makes a new one.
	passes bool
}

// allowsFlow reports whether a flow may remain.
func (fe *udpFrontend) allowsFlow(f flow) bool {
	return fe.allows(f.replySource) || fe.passes && f.replySource == f.destination
}

// or returns a frontend that allows what one of two allows; other may be nil.
func (fe *udpFrontend) or(other *udpFrontend) *udpFrontend {
	if other == nil {
		return fe
	}
	both := &udpFrontend{fe.addr, maps.Clone(fe.endpoints), fe.passes || other.passes}
	maps.Copy(both.endpoints, other.endpoints)
	return both
}

func (fe *udpFrontend) allows(endpoint netip.AddrPort) bool {
	_, ok := fe.endpoints[endpoint]
	return ok
}

// udpFrontends returns the UDP frontends of a Service. Draining endpoints are allowed.
func udpFrontends(svc *localsink.Service) []*udpFrontend {
	var all []*udpFrontend
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol != localsink.ProtocolUDP {
			continue
		}
		allowed := map[netip.AddrPort]struct{}{}
		for _, pool := range p.Pools {
			for _, e := range pool.Endpoints {
				allowed[e.Addr] = struct{}{}
			}
		}
		for _, e := range p.Draining {
			allowed[e] = struct{}{}
		}
		for _, fe := range p.Frontends {
			passes := slices.ContainsFunc(fe.Routes, func(r localsink.Route) bool {
				return r.EmptyVerdict == localsink.VerdictPass && len(p.Pools[r.Pool].Endpoints) == 0
			})
			all = append(all, &udpFrontend{fe.Addr, allowed, passes})
		}
	}
	return all
}

// appliedFrontends holds the UDP frontends of the last applied update. It has no entry for
// a Service without UDP ports.
type appliedFrontends map[localsink.ServiceName][]*udpFrontend

// staleFrontends holds the frontends that may have stale flows, by address. The value is
// the desired frontend, or nil if the frontend was removed.
type staleFrontends map[netip.AddrPort]*udpFrontend

// stale returns the frontends whose change in u may leave stale flows: those that are new or
// removed, those that lost an endpoint, those that got their first endpoint, and those that
// no longer pass packets. Further endpoints make no flow stale.
func (applied appliedFrontends) stale(u *localsink.Update) staleFrontends {
	stale := staleFrontends{}
	for _, svc := range u.Removed {
		for _, old := range applied[svc.Name] {
			stale[old.addr] = nil
		}
	}
	for _, svc := range u.Changed {
		desired := udpFrontends(svc)
		for _, old := range applied[svc.Name] {
			if !slices.ContainsFunc(desired, func(fe *udpFrontend) bool { return fe.addr == old.addr }) {
				stale[old.addr] = nil
			}
		}
	}
	// Desired frontends are added last: if an address moves between two Services, the loops
	// above have marked it as removed.
	for _, svc := range u.Changed {
		for _, fe := range udpFrontends(svc) {
			old := applied.find(svc.Name, fe.addr)
			_, removedElsewhere := stale[fe.addr]
			if removedElsewhere || old == nil || old.gainsFirstEndpoint(fe) || old.losesEndpoint(fe) || old.passes && !fe.passes {
				stale[fe.addr] = fe
			}
		}
	}
	return stale
}

// isNodePort reports whether the frontend is a node port.
func (fe *udpFrontend) isNodePort() bool { return fe.addr.Addr().IsUnspecified() }

// addDesired adds the desired frontends that are selected, unless they are there.
func (stale staleFrontends) addDesired(u *localsink.Update, selects func(*udpFrontend) bool) {
	desired := staleFrontends{}
	for svc := range u.All.All() {
		for _, fe := range udpFrontends(svc) {
			if selects(fe) {
				desired[fe.addr] = fe.or(desired[fe.addr])
			}
		}
	}
	for addr, fe := range desired {
		if _, ok := stale[addr]; !ok {
			stale[addr] = fe
		}
	}
}

// failedUpdates are those since the last one that was applied. The sinks before this one have
// applied them, even if a later update reverts them.
type failedUpdates struct {
	frontends map[netip.AddrPort]struct{} // that were examined
	nodePorts []netip.Prefix              // the addresses with node ports
}

// add records an update that failed.
func (f *failedUpdates) add(frontends staleFrontends, node *localsink.Node) {
	if f.frontends == nil {
		f.frontends = map[netip.AddrPort]struct{}{}
	}
	for addr := range frontends {
		f.frontends[addr] = struct{}{}
	}
	f.nodePorts = append(f.nodePorts, node.NodePortAddresses...)
}

// addFailed adds the frontends of failed updates.
func (stale staleFrontends) addFailed(failed map[netip.AddrPort]struct{}, u *localsink.Update) {
	if len(failed) == 0 {
		return
	}
	stale.addDesired(u, func(fe *udpFrontend) bool {
		_, ok := failed[fe.addr]
		return ok
	})
	for addr := range failed {
		if _, ok := stale[addr]; !ok {
			stale[addr] = nil // not desired any more
		}
	}
}

func (applied appliedFrontends) find(name localsink.ServiceName, addr netip.AddrPort) *udpFrontend {
	for _, fe := range applied[name] {
		if fe.addr == addr {
			return fe
		}
	}
	return nil
}

func (fe *udpFrontend) gainsFirstEndpoint(next *udpFrontend) bool {
	return len(fe.endpoints) == 0 && len(next.endpoints) > 0
}

func (fe *udpFrontend) losesEndpoint(next *udpFrontend) bool {
	for e := range fe.endpoints {
		if !next.allows(e) {
			return true
		}
	}
	return false
}

// update records u as applied.
func (applied appliedFrontends) update(u *localsink.Update) {
	for _, svc := range u.Changed {
		if applied[svc.Name] = udpFrontends(svc); applied[svc.Name] == nil {
			delete(applied, svc.Name)
		}
	}
	for _, svc := range u.Removed {
		delete(applied, svc.Name)
	}
}

// hasFamily reports whether any frontend is of the address family.
func (stale staleFrontends) hasFamily(v4 bool) bool {
	for addr := range stale {
		if addr.Addr().Is4() == v4 {
			return true
		}
	}
	return false
}

// isStale reports whether f must be removed. isLocal reports whether node ports answer on
// an address, and wasLocal whether they did in the update before.
func (stale staleFrontends) isStale(f flow, isLocal, wasLocal func(netip.Addr) bool) bool {
	if fe, ok := stale[f.destination]; ok {
		if fe == nil {
			return f.translated() // the frontend was removed, and the translation with it
		}
		return !fe.allowsFlow(f)
	}
	unspecified := netip.IPv6Unspecified()
	if f.destination.Addr().Is4() {
		unspecified = netip.IPv4Unspecified()
	}
	fe, ok := stale[netip.AddrPortFrom(unspecified, f.destination.Port())]
	switch {
	case !ok:
		return false
	case !isLocal(f.destination.Addr()):
		return f.translated() && wasLocal(f.destination.Addr())
	case fe == nil || len(fe.endpoints) == 0:
		return f.translated() // untranslated flows belong to a process on the node
	}
	return !fe.allowsFlow(f)
}
