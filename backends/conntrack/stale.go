// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A allowedEndpoints is where the flows to one UDP frontend may lead. It is immutable.
type allowedEndpoints struct {
	frontend  netip.AddrPort // a node port has the unspecified address
	endpoints map[netip.AddrPort]struct{}
}

func (t *allowedEndpoints) allows(endpoint netip.AddrPort) bool {
	_, ok := t.endpoints[endpoint]
	return ok
}

// allowedByFrontend returns what a Service has of them.
func allowedByFrontend(svc *localsink.Service) []*allowedEndpoints {
	var all []*allowedEndpoints
	for i := range svc.Ports {
		p := &svc.Ports[i]
		if p.Protocol != localsink.ProtocolUDP {
			continue
		}
		keep := map[netip.AddrPort]struct{}{}
		for _, pool := range p.Pools {
			for _, e := range pool.Endpoints {
				keep[e.Addr] = struct{}{}
			}
		}
		for _, e := range p.Draining {
			keep[e] = struct{}{}
		}
		for _, fe := range p.Frontends {
			all = append(all, &allowedEndpoints{fe.Addr, keep})
		}
	}
	return all
}

// A acknowledged is the targets of the last accepted update.
type acknowledged map[localsink.ServiceName][]*allowedEndpoints

// A staleFrontends is that a frontend has flows that should not be; the value says where
// they may lead, and nil that the frontend is gone.
type staleFrontends map[netip.AddrPort]*allowedEndpoints

// stale returns where an update may leave wrong flows: at frontends that are new or
// gone, or that have lost an endpoint. An endpoint more does no harm, unless it is the
// first: flows may have begun when there was none.
func (l acknowledged) stale(u *localsink.Update) staleFrontends {
	s := staleFrontends{}
	for _, svc := range u.Removed {
		for _, old := range l[svc.Name] {
			s[old.frontend] = nil
		}
	}
	for _, svc := range u.Changed {
		now := allowedByFrontend(svc)
		for _, old := range l[svc.Name] {
			if !slices.ContainsFunc(now, func(t *allowedEndpoints) bool { return t.frontend == old.frontend }) {
				s[old.frontend] = nil
			}
		}
	}
	// What is there now goes last: a frontend may have moved between Services.
	for _, svc := range u.Changed {
		for _, t := range allowedByFrontend(svc) {
			if old := l.find(svc.Name, t.frontend); old == nil || old.gainsFirst(t) || old.loses(t) {
				s[t.frontend] = t
			} else if _, suspected := s[t.frontend]; suspected {
				s[t.frontend] = t
			}
		}
	}
	return s
}

// hasFamily says whether there is anything suspicious in a family.
func (s staleFrontends) hasFamily(v4 bool) bool {
	for front := range s {
		if front.Addr().Is4() == v4 {
			return true
		}
	}
	return false
}

func (l acknowledged) find(name localsink.ServiceName, front netip.AddrPort) *allowedEndpoints {
	for _, t := range l[name] {
		if t.frontend == front {
			return t
		}
	}
	return nil
}

func (t *allowedEndpoints) gainsFirst(next *allowedEndpoints) bool {
	return len(t.endpoints) == 0 && len(next.endpoints) > 0
}

func (t *allowedEndpoints) loses(next *allowedEndpoints) bool {
	for e := range t.endpoints {
		if !next.allows(e) {
			return true
		}
	}
	return false
}

// update moves on to what u wants.
func (l acknowledged) update(u *localsink.Update) {
	for _, svc := range u.Changed {
		if l[svc.Name] = allowedByFrontend(svc); l[svc.Name] == nil {
			delete(l, svc.Name)
		}
	}
	for _, svc := range u.Removed {
		delete(l, svc.Name)
	}
}

// A flow is a UDP entry of the kernel: what the client dialled, and who answers.
type flow struct{ destination, replySource netip.AddrPort }

// isStale says whether a flow should not be. local tells the addresses of the node.
func (s staleFrontends) isStale(f flow, local func(netip.Addr) bool) bool {
	translated := f.replySource != f.destination
	if t, suspected := s[f.destination]; suspected {
		if t == nil {
			return translated // the frontend is gone, and with it the translation
		}
		return !t.allows(f.replySource)
	}
	everywhere := netip.IPv6Unspecified()
	if f.destination.Addr().Is4() {
		everywhere = netip.IPv4Unspecified()
	}
	t, suspected := s[netip.AddrPortFrom(everywhere, f.destination.Port())]
	switch {
	case !suspected || !local(f.destination.Addr()):
		return false
	case t == nil || len(t.endpoints) == 0:
		return translated // what is not translated belongs to the node's own programs
	}
	return !t.allows(f.replySource)
}
