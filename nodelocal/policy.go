// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// A Policy decides how the connections to one port of a Service are distributed. It changes
// port, whose fields are set to what the library would do without it. It must not change
// service, and must not keep port.
//
// It is called when the Service or one of its EndpointSlices has changed, for all nodes at
// once, possibly concurrently for different resolvers. The result must depend on nothing but
// the arguments. After an error, or if a field is out of range, the Service gets a Problem and
// the port is distributed as without the policy.
type Policy func(service *watchers.Service, port *PolicyPort) error

// A PolicyPort is a port of a Service, as a [Policy] receives and changes it.
type PolicyPort struct {
	// Name and Protocol identify the port. Changes have no effect.
	Name     string
	Protocol localsink.Protocol

	// Selection and RefusedPerMille are those of [localsink.Port].
	Selection       localsink.Selection
	RefusedPerMille uint16
	// PassExternal passes packets to external IPs and load balancer addresses on, instead of
	// rejecting or dropping them, when no endpoint may receive them: [localsink.VerdictPass].
	PassExternal bool
	// Endpoints lists the endpoints of both address families, ordered by address. The policy
	// sets fields of the elements; it must not add, remove or move elements.
	Endpoints []PolicyEndpoint
}

// A PolicyEndpoint is an endpoint of a [PolicyPort].
type PolicyEndpoint struct {
	// Addr, Object and Extensions describe the endpoint. Changes have no effect.
	Addr       netip.AddrPort
	Object     *watchers.Endpoint
	Extensions localsink.Extensions

	// Weight is the share of new connections in relation to the other endpoints. With weight
	// 0 the endpoint gets none, and keeps its established ones while it is serving.
	Weight uint32
	// Order is 0 by default. A pool has only those of its endpoints that have the smallest
	// Order, so that others serve when these have failed.
	Order uint32
}

// applyPolicy lets the policy change a port and the endpoint sets of its families. If it
// fails, nothing is changed.
func (svc *ResolvedService) applyPolicy(policy Policy, object *watchers.Service, port *resolvedPort) {
	p := PolicyPort{Name: port.Name, Protocol: port.Protocol, Selection: port.Selection, RefusedPerMille: port.RefusedPerMille}
	for i := range port.endpointSets {
		set := &port.endpointSets[i]
		for j := range set.endpoints {
			e := &set.endpoints[j]
			p.Endpoints = append(p.Endpoints, set.policyEndpoint(e))
		}
	}
	before := slices.Clone(p.Endpoints)
	err := policy(object, &p)
	if err == nil {
		err = p.check(before)
	}
	if err != nil {
		svc.addProblemf(fmt.Sprintf("spec.ports[name=%q]", port.Name), "policy: %v; ignored", err)
		return
	}
	port.Selection, port.RefusedPerMille, port.passExternal = p.Selection, p.RefusedPerMille, p.PassExternal
	next := p.Endpoints
	for i := range port.endpointSets {
		set := &port.endpointSets[i]
		set.applyPolicy(next[:len(set.endpoints)])
		next = next[len(set.endpoints):]
	}
}

func (s *endpointSet) policyEndpoint(e *portEndpoint) PolicyEndpoint {
	out := PolicyEndpoint{Addr: e.addr, Object: s.properties.source(e.object), Weight: max(1, s.properties.weight(e.addr))}
	if s.properties != nil {
		out.Extensions = s.properties.extensions[e.addr]
		if s.properties.isDrained(e.object) {
			out.Weight = 0
		}
	}
	return out
}

// check returns an error if the policy has changed a field that it must not change, or to a
// value that is out of range.
func (p *PolicyPort) check(before []PolicyEndpoint) error {
	switch {
	case p.Selection > localsink.SelectionLeastConnections:
		return fmt.Errorf("selection %d is unknown", p.Selection)
	case p.RefusedPerMille > 1000:
		return fmt.Errorf("refused share %d is out of range 0-1000", p.RefusedPerMille)
	case len(p.Endpoints) != len(before):
		return fmt.Errorf("%d endpoints became %d", len(before), len(p.Endpoints))
	}
	for i := range before {
		if p.Endpoints[i].Addr != before[i].Addr {
			return fmt.Errorf("endpoint %d changed from %s to %s", i, before[i].Addr, p.Endpoints[i].Addr)
		}
	}
	return nil
}

// applyPolicy applies weights and orders, and determines anew which endpoints are eligible.
func (s *endpointSet) applyPolicy(decided []PolicyEndpoint) {
	p := s.properties
	if p == nil {
		p = &endpointProperties{}
	}
	changed := false
	for i := range decided {
		e := &s.endpoints[i]
		if decided[i].Weight != s.policyEndpoint(e).Weight {
			p.setWeight(e, decided[i].Weight)
			changed = true
		}
		if decided[i].Order != 0 {
			set(&p.orders, e.addr, decided[i].Order)
			changed = true
		}
	}
	if changed {
		*s = newEndpointSet(s.family, s.endpoints, p)
	}
}
