// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A Delta is the distance between two common parts of one Service that differ in
// nothing but endpoints.
type Delta struct {
	// Ports are those that differ, in order.
	Ports []PortDelta
}

// A PortDelta is what differs in one port.
type PortDelta struct {
	// Port is an index into [Base.Ports].
	Port int
	// Set are added or replaced, Removed are gone; both are ordered by address and port.
	Set     []Endpoint
	Removed []netip.AddrPort
}

// Diff returns the way from old to new, and false when they differ in more than
// endpoints.
func Diff(old, new *Base) (*Delta, bool) {
	if !sameFrame(old, new) {
		return nil, false
	}
	d := &Delta{}
	for i := range new.Ports {
		p := PortDelta{Port: i}
		p.compare(old.Ports[i].Endpoints, new.Ports[i].Endpoints)
		if len(p.Set) > 0 || len(p.Removed) > 0 {
			d.Ports = append(d.Ports, p)
		}
	}
	return d, true
}

// Len is the number of endpoints that d speaks of.
func (d *Delta) Len() int {
	n := 0
	for i := range d.Ports {
		n += len(d.Ports[i].Set) + len(d.Ports[i].Removed)
	}
	return n
}

func (d *PortDelta) compare(old, new []Endpoint) {
	for len(old) > 0 && len(new) > 0 {
		switch c := old[0].Addr.Compare(new[0].Addr); {
		case c < 0:
			d.Removed, old = append(d.Removed, old[0].Addr), old[1:]
		case c > 0:
			d.Set, new = append(d.Set, new[0]), new[1:]
		default:
			if old[0] != new[0] {
				d.Set = append(d.Set, new[0])
			}
			old, new = old[1:], new[1:]
		}
	}
	for i := range old {
		d.Removed = append(d.Removed, old[i].Addr)
	}
	d.Set = append(d.Set, new...)
}

// sameFrame compares everything but endpoints.
func sameFrame(a, b *Base) bool {
	return a.Name == b.Name && a.HealthCheckPort == b.HealthCheckPort && slices.Equal(a.Problems, b.Problems) &&
		slices.EqualFunc(a.Ports, b.Ports, func(p, q Port) bool {
			return p.Name == q.Name && p.Protocol == q.Protocol && p.Affinity == q.Affinity &&
				slices.EqualFunc(p.Frontends, q.Frontends, sameFrontend)
		})
}

// sameFrontend tells nil Sources, which let in everybody, from empty ones.
func sameFrontend(a, b Frontend) bool {
	return a.Kind == b.Kind && a.Addr == b.Addr &&
		(a.SourceRanges == nil) == (b.SourceRanges == nil) && slices.Equal(a.SourceRanges, b.SourceRanges) &&
		slices.Equal(a.NodeSourceRanges, b.NodeSourceRanges) && slices.EqualFunc(a.Routes, b.Routes, sameRoute)
}

func sameRoute(a, b Route) bool {
	return a.From == b.From && a.Masquerade == b.Masquerade && a.EmptyVerdict == b.EmptyVerdict && a.Condition == b.Condition &&
		slices.Equal(a.Pools, b.Pools)
}

// Equal reports whether a and b say the same.
func (a *Base) Equal(b *Base) bool {
	return sameFrame(a, b) && slices.EqualFunc(a.Ports, b.Ports, func(p, q Port) bool { return slices.Equal(p.Endpoints, q.Endpoints) })
}

// Apply returns s as d changes it; s stays as it is. The error says what of d does not
// fit s, which means that it is the distance from something else.
func (s *Base) Apply(d *Delta) (*Base, error) {
	out := *s
	out.Ports = slices.Clone(s.Ports)
	for i := range d.Ports {
		p := &d.Ports[i]
		if p.Port < 0 || p.Port >= len(out.Ports) {
			return nil, fmt.Errorf("plan: Service %s has no port %d", s.Name, p.Port)
		}
		all, err := p.apply(s.Name, out.Ports[p.Port].Endpoints)
		if err != nil {
			return nil, err
		}
		out.Ports[p.Port].Endpoints = all
	}
	return &out, nil
}

func (d *PortDelta) apply(name localsink.ServiceName, old []Endpoint) ([]Endpoint, error) {
	out, set, removed := make([]Endpoint, 0, len(old)+len(d.Set)), d.Set, d.Removed
	for i := range old {
		for len(set) > 0 && set[0].Addr.Compare(old[i].Addr) < 0 {
			out, set = append(out, set[0]), set[1:]
		}
		switch {
		case len(removed) > 0 && removed[0] == old[i].Addr:
			removed = removed[1:]
		case len(set) > 0 && set[0].Addr == old[i].Addr:
			out, set = append(out, set[0]), set[1:]
		default:
			out = append(out, old[i])
		}
	}
	if len(removed) > 0 {
		return nil, fmt.Errorf("plan: Service %s, port %d: no endpoint %s to remove", name, d.Port, removed[0])
	}
	out = append(out, set...)
	ordered := func(i int) bool { return i == 0 || out[i-1].Addr.Compare(out[i].Addr) < 0 }
	for i := range out {
		if !ordered(i) {
			return nil, fmt.Errorf("plan: Service %s, port %d: endpoint %s is out of order", name, d.Port, out[i].Addr)
		}
	}
	return out, nil
}
