// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A Delta holds the changes between two bases of one Service that differ only in
// endpoints.
type Delta struct {
	// Ports holds the changed ports, in order.
	Ports []PortDelta
}

// A PortDelta holds the changed endpoints of one port.
type PortDelta struct {
	// Port is an index into [Base.Ports].
	Port int
	// Set holds added and replaced endpoints, Removed the addresses of deleted ones; both
	// are ordered by address and port.
	Set     []Endpoint
	Removed []netip.AddrPort
	// Extensions holds the endpoints whose extensions differ, with the new ones; an empty
	// list removes them. nil if none differ.
	Extensions map[netip.AddrPort]localsink.Extensions
}

// Diff returns the changes from old to new, and false when old and new differ in more
// than endpoints.
func Diff(old, new *Base) (*Delta, bool) {
	if !equalExceptEndpoints(old, new) {
		return nil, false
	}
	d := &Delta{}
	for i := range new.Ports {
		p := PortDelta{Port: i}
		p.compare(old.Ports[i].Endpoints, new.Ports[i].Endpoints)
		p.compareExtensions(old.Ports[i].EndpointExtensions, new.Ports[i].EndpointExtensions)
		if len(p.Set) > 0 || len(p.Removed) > 0 || len(p.Extensions) > 0 {
			d.Ports = append(d.Ports, p)
		}
	}
	return d, true
}

// Len returns the number of changed endpoints.
func (d *Delta) Len() int {
	n := 0
	for i := range d.Ports {
		n += len(d.Ports[i].Set) + len(d.Ports[i].Removed) + len(d.Ports[i].Extensions)
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

// compareExtensions adds the endpoints whose extensions differ.
func (d *PortDelta) compareExtensions(old, new map[netip.AddrPort]localsink.Extensions) {
	set := func(a netip.AddrPort, x localsink.Extensions) {
		if d.Extensions == nil {
			d.Extensions = map[netip.AddrPort]localsink.Extensions{}
		}
		d.Extensions[a] = x
	}
	for a, x := range new {
		if !x.Equal(old[a]) {
			set(a, x)
		}
	}
	for a, x := range old {
		if _, remains := new[a]; !remains && x.Len() > 0 {
			set(a, localsink.Extensions{})
		}
	}
}

// applyExtensions returns old with the changes of d.
func (d *PortDelta) applyExtensions(old map[netip.AddrPort]localsink.Extensions) map[netip.AddrPort]localsink.Extensions {
	if len(d.Extensions) == 0 {
		return old
	}
	out := make(map[netip.AddrPort]localsink.Extensions, len(old)+len(d.Extensions))
	maps.Copy(out, old)
	for a, x := range d.Extensions {
		if x.Len() == 0 {
			delete(out, a)
		} else {
			out[a] = x
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// equalExceptEndpoints reports whether a and b are equal in all fields but endpoints.
func equalExceptEndpoints(a, b *Base) bool {
	return a.Name == b.Name && a.HealthCheckPort == b.HealthCheckPort && slices.Equal(a.Problems, b.Problems) &&
		a.Extensions.Equal(b.Extensions) && slices.EqualFunc(a.Ports, b.Ports, func(p, q Port) bool {
		return p.Name == q.Name && p.Protocol == q.Protocol && p.Affinity == q.Affinity &&
			p.Selection == q.Selection && p.RefusedPerMille == q.RefusedPerMille &&
			slices.EqualFunc(p.Frontends, q.Frontends, equalFrontend)
	})
}

// equalFrontend reports whether a and b are equal. Nil SourceRanges, which permit all
// clients, differ from empty ones, which permit none.
func equalFrontend(a, b Frontend) bool {
	return a.Kind == b.Kind && a.Addr == b.Addr &&
		(a.SourceRanges == nil) == (b.SourceRanges == nil) && slices.Equal(a.SourceRanges, b.SourceRanges) &&
		slices.Equal(a.NodeSourceRanges, b.NodeSourceRanges) && slices.EqualFunc(a.Routes, b.Routes, equalRoute)
}

func equalRoute(a, b Route) bool {
	return a.From == b.From && a.Masquerade == b.Masquerade && a.EmptyVerdict == b.EmptyVerdict && a.Condition == b.Condition &&
		slices.Equal(a.Pools, b.Pools)
}

// Equal reports whether b and other are equal.
func (b *Base) Equal(other *Base) bool {
	return equalExceptEndpoints(b, other) && slices.EqualFunc(b.Ports, other.Ports, func(p, q Port) bool {
		return slices.Equal(p.Endpoints, q.Endpoints) && maps.EqualFunc(p.EndpointExtensions, q.EndpointExtensions, localsink.Extensions.Equal)
	})
}

// Apply returns a copy of b with the changes of d; b is not modified. It returns an error
// when d does not fit b: when it was computed from another base.
func (b *Base) Apply(d *Delta) (*Base, error) {
	out := *b
	out.Ports = slices.Clone(b.Ports)
	for i := range d.Ports {
		p := &d.Ports[i]
		if p.Port < 0 || p.Port >= len(out.Ports) {
			return nil, fmt.Errorf("overlay: apply delta: %s has no port %d", b.Name.Object(), p.Port)
		}
		endpoints, err := p.apply(out.Ports[p.Port].Endpoints)
		if err != nil {
			return nil, fmt.Errorf("overlay: apply delta: %s, port %d: %w", b.Name.Object(), p.Port, err)
		}
		out.Ports[p.Port].Endpoints = endpoints
		out.Ports[p.Port].EndpointExtensions = p.applyExtensions(out.Ports[p.Port].EndpointExtensions)
	}
	return &out, nil
}

func (d *PortDelta) apply(old []Endpoint) ([]Endpoint, error) {
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
		return nil, fmt.Errorf("no endpoint %s to remove", removed[0])
	}
	out = append(out, set...)
	for i := 1; i < len(out); i++ {
		if out[i-1].Addr.Compare(out[i].Addr) >= 0 {
			return nil, fmt.Errorf("endpoint %s is out of order", out[i].Addr)
		}
	}
	return out, nil
}
