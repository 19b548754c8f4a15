// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A target is where the flows to one UDP frontend may lead. It is immutable.
type target struct {
	front netip.AddrPort // a node port has the unspecified address
	keep  map[netip.AddrPort]struct{}
}

func (t *target) keeps(endpoint netip.AddrPort) bool {
	_, ok := t.keep[endpoint]
	return ok
}

// targets returns what a Service has of them.
func targets(svc *localsink.Service) []*target {
	var all []*target
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
			all = append(all, &target{fe.Addr, keep})
		}
	}
	return all
}

// A ledger is the targets of the last accepted update.
type ledger map[localsink.ServiceName][]*target

// A suspicion is that a frontend has flows that should not be; the value says where
// they may lead, and nil that the frontend is gone.
type suspicion map[netip.AddrPort]*target

// suspect returns where an update may leave wrong flows: at frontends that are new or
// gone, or that have lost an endpoint. An endpoint more does no harm, unless it is the
// first: flows may have begun when there was none.
func (l ledger) suspect(u *localsink.Update) suspicion {
	s := suspicion{}
	for _, svc := range u.Removed {
		for _, old := range l[svc.Name] {
			s[old.front] = nil
		}
	}
	for _, svc := range u.Changed {
		now := targets(svc)
		for _, old := range l[svc.Name] {
			if !slices.ContainsFunc(now, func(t *target) bool { return t.front == old.front }) {
				s[old.front] = nil
			}
		}
	}
	// What is there now goes last: a frontend may have moved between Services.
	for _, svc := range u.Changed {
		for _, t := range targets(svc) {
			if old := l.find(svc.Name, t.front); old == nil || old.gainsFirst(t) || old.loses(t) {
				s[t.front] = t
			} else if _, suspected := s[t.front]; suspected {
				s[t.front] = t
			}
		}
	}
	return s
}

// concern says whether there is anything suspicious in a family.
func (s suspicion) concern(v4 bool) bool {
	for front := range s {
		if front.Addr().Is4() == v4 {
			return true
		}
	}
	return false
}

func (l ledger) find(name localsink.ServiceName, front netip.AddrPort) *target {
	for _, t := range l[name] {
		if t.front == front {
			return t
		}
	}
	return nil
}

func (t *target) gainsFirst(next *target) bool { return len(t.keep) == 0 && len(next.keep) > 0 }

func (t *target) loses(next *target) bool {
	for e := range t.keep {
		if !next.keeps(e) {
			return true
		}
	}
	return false
}

// accept moves on to what u wants.
func (l ledger) accept(u *localsink.Update) {
	for _, svc := range u.Changed {
		if l[svc.Name] = targets(svc); l[svc.Name] == nil {
			delete(l, svc.Name)
		}
	}
	for _, svc := range u.Removed {
		delete(l, svc.Name)
	}
}

// A flow is a UDP entry of the kernel: what the client dialled, and who answers.
type flow struct{ dialled, answers netip.AddrPort }

// wrong says whether a flow should not be. local tells the addresses of the node.
func (s suspicion) wrong(f flow, local func(netip.Addr) bool) bool {
	translated := f.answers != f.dialled
	if t, suspected := s[f.dialled]; suspected {
		if t == nil {
			return translated // the frontend is gone, and with it the translation
		}
		return !t.keeps(f.answers)
	}
	everywhere := netip.IPv6Unspecified()
	if f.dialled.Addr().Is4() {
		everywhere = netip.IPv4Unspecified()
	}
	t, suspected := s[netip.AddrPortFrom(everywhere, f.dialled.Port())]
	switch {
	case !suspected || !local(f.dialled.Addr()):
		return false
	case t == nil || len(t.keep) == 0:
		return translated // what is not translated belongs to the node's own programs
	}
	return !t.keeps(f.answers)
}
