// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// endpointProperties holds the weights, orders and extensions of the endpoints of one port and
// family that differ from the default. nil means that none do.
type endpointProperties struct {
	weights    map[netip.AddrPort]uint32 // without 1
	orders     map[netip.AddrPort]uint32 // without 0
	extensions map[netip.AddrPort]localsink.Extensions
	// drained maps the copy of an endpoint with weight 0, which is not ready, to the
	// endpoint in its slice.
	drained map[*watchers.Endpoint]*watchers.Endpoint
}

// propertiesOf returns the properties of the given endpoints, and replaces those with weight 0
// by copies that are neither ready nor terminating, so that no pool has them.
func propertiesOf(endpointSlices []*watchers.EndpointSlice, endpoints []portEndpoint) *endpointProperties {
	if !slices.ContainsFunc(endpointSlices, func(s *watchers.EndpointSlice) bool { return len(s.Details) > 0 || s.Extensions.Len() > 0 }) {
		return nil
	}
	type origin struct {
		slice *watchers.EndpointSlice
		index int
	}
	origins := map[*watchers.Endpoint]origin{}
	for _, s := range endpointSlices {
		for i := range s.Endpoints {
			origins[&s.Endpoints[i]] = origin{s, i}
		}
	}
	p := &endpointProperties{}
	for i := range endpoints {
		o := origins[endpoints[i].object]
		details := watchers.EndpointDetails{}
		if o.index < len(o.slice.Details) {
			details = o.slice.Details[o.index]
		}
		p.setExtensions(endpoints[i].addr, details.Extensions.With(o.slice.Extensions))
		if details.Weight != nil {
			p.setWeight(&endpoints[i], *details.Weight)
		}
	}
	return p
}

func (p *endpointProperties) setExtensions(a netip.AddrPort, x localsink.Extensions) {
	if x.Len() > 0 {
		set(&p.extensions, a, x)
	}
}

// setWeight sets the weight of e. With weight 0, its object is replaced.
func (p *endpointProperties) setWeight(e *portEndpoint, weight uint32) {
	if original := p.drained[e.object]; original != nil {
		delete(p.drained, e.object)
		e.object = original
	}
	delete(p.weights, e.addr)
	switch weight {
	case 0:
		drained := *e.object
		drained.Ready, drained.Terminating = false, false
		set(&p.drained, &drained, e.object)
		e.object = &drained
	case 1:
	default:
		set(&p.weights, e.addr, weight)
	}
}

// set sets a value of a map that may be nil.
func set[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}

func (p *endpointProperties) weight(a netip.AddrPort) uint32 {
	if p == nil {
		return 0
	}
	return p.weights[a] // 0 stands for 1
}

func (p *endpointProperties) order(a netip.AddrPort) uint32 {
	if p == nil {
		return 0
	}
	return p.orders[a]
}

// source returns the endpoint as it is in its slice.
func (p *endpointProperties) source(e *watchers.Endpoint) *watchers.Endpoint {
	if p == nil {
		return e
	}
	return cmp.Or(p.drained[e], e)
}

// isDrained reports whether the weight of an endpoint is 0.
func (p *endpointProperties) isDrained(e *watchers.Endpoint) bool {
	return p != nil && p.drained[e] != nil
}

// firstInOrder restricts a filter of endpoints to those with the smallest order that it
// selects. Callers call it only if there are orders, because it makes selected escape.
func (p *endpointProperties) firstInOrder(endpoints []portEndpoint, selected func(*portEndpoint) bool) func(*portEndpoint) bool {
	first, found := uint32(0), false
	for i := range endpoints {
		if selected(&endpoints[i]) {
			if order := p.orders[endpoints[i].addr]; !found || order < first {
				first, found = order, true
			}
		}
	}
	return func(e *portEndpoint) bool { return selected(e) && p.orders[e.addr] == first }
}
