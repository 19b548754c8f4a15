// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/shares"
)

// maxWeight is the largest weight of a backend in the API.
const maxWeight = 1_000_000

// Reasons of the condition ResolvedRefs.
const (
	reasonResolvedRefs     = "ResolvedRefs"
	reasonRefNotPermitted  = "RefNotPermitted"
	reasonInvalidKind      = "InvalidKind"
	reasonBackendNotFound  = "BackendNotFound"
	reasonUnsupportedValue = "UnsupportedValue"
)

// shareRefused ends the messages about invalid backends.
const shareRefused = "; its share of connections is refused"

// A backend is a resolved reference of a route.
type backend struct {
	weight  uint64
	service watchers.ServiceName
	port    string // name of the Service's port
	number  int64  // its number
	// reason is why the backend is invalid, or "". field and message describe it.
	reason, field, message string
}

// protocol returns the protocol of the connections of a route.
func (r *route) protocol() localsink.Protocol {
	if r.kind == kindUDPRoute {
		return localsink.ProtocolUDP
	}
	return localsink.ProtocolTCP
}

// backends resolves the references of a route.
func (e *engine) backends(r *route) []backend {
	refs := r.backendRefs()
	out := make([]backend, len(refs))
	for i := range refs {
		out[i] = e.backend(r, &refs[i])
	}
	return out
}

func (e *engine) backend(r *route, ref *backendRef) backend {
	weight := valueOr(ref.Weight, 1)
	target := ref.target(r)
	b := backend{service: target.service(), number: valueOr(ref.Port, 0)}
	fail := func(reason, field, format string, args ...any) backend {
		b.reason, b.field, b.message = reason, field, fmt.Sprintf(format, args...)
		return b
	}
	if weight < 0 || weight > maxWeight {
		return fail(reasonUnsupportedValue, "weight", "%d is out of range 0-%d; the backend gets no connections", weight, maxWeight)
	}
	b.weight = uint64(weight)
	if g, kind := valueOr(ref.Group, ""), valueOr(ref.Kind, kindService); g != "" || kind != kindService {
		return fail(reasonInvalidKind, "kind", "%s is not Service"+shareRefused, kindWithGroup(g, kind))
	}
	if target.namespace != r.Namespace && !e.permits(r, target) {
		return fail(reasonRefNotPermitted, "namespace",
			"no ReferenceGrant in namespace %s permits %ss of namespace %s to refer to Service %s"+shareRefused,
			target.namespace, r.kind, r.Namespace, target.name)
	}
	service := e.services.Service(b.service)
	if service == nil || service.Type == watchers.TypeExternalName {
		return fail(reasonBackendNotFound, "name", "there is no Service %s/%s with endpoints"+shareRefused, target.namespace, target.name)
	}
	i := slices.IndexFunc(service.Ports, func(p watchers.ServicePort) bool {
		return int64(p.Port) == b.number && p.Protocol == r.protocol()
	})
	if i < 0 {
		return fail(reasonBackendNotFound, "port", "Service %s/%s has no %v port %d"+shareRefused,
			target.namespace, target.name, r.protocol(), b.number)
	}
	b.port = service.Ports[i].Name
	return b
}

func kindWithGroup(group, kind string) string {
	if group == "" {
		return kind
	}
	return group + "/" + kind
}

// permits reports whether a ReferenceGrant permits a route to refer to a Service.
func (e *engine) permits(r *route, target objectID) bool {
	for _, g := range e.grantsOf[target.namespace] {
		from, to := false, false
		for _, f := range g.Spec.From {
			from = from || f.Group == group && f.Kind == r.kind && f.Namespace == r.Namespace
		}
		for _, t := range g.Spec.To {
			to = to || t.Group == "" && t.Kind == kindService && valueOr(t.Name, target.name) == target.name
		}
		if from && to {
			return true
		}
	}
	return false
}

// A frontend is a port of a Service that gets the endpoints of backends.
type frontend struct {
	service  watchers.ServiceName
	port     string
	protocol localsink.Protocol
	families []watchers.IPFamily
}

// eligible has the endpoints of a backend in one family that get new connections, and those that
// get them while there are no others.
type eligible struct{ ready, terminating map[netip.AddrPort]struct{} }

func (e *engine) eligible(b *backend, f *frontend, family watchers.IPFamily) (out eligible) {
	out = eligible{map[netip.AddrPort]struct{}{}, map[netip.AddrPort]struct{}{}}
	if b.reason != "" {
		return out
	}
	for slice := range e.services.EndpointSlices(b.service) {
		port, ok := portOf(slice, b.port, f.protocol)
		if !ok || slice.Family != family {
			continue
		}
		for i := range slice.Endpoints {
			at := netip.AddrPortFrom(slice.Endpoints[i].Addr, port)
			switch endpoint := &slice.Endpoints[i]; {
			case endpoint.Ready:
				out.ready[at] = struct{}{}
			case endpoint.Serving && endpoint.Terminating:
				out.terminating[at] = struct{}{}
			}
		}
	}
	return out
}

// portOf returns the number of a port of a slice.
func portOf(slice *watchers.EndpointSlice, name string, protocol localsink.Protocol) (uint16, bool) {
	for _, p := range slice.Ports {
		if p.Name == name && p.Protocol == protocol {
			return p.Port, true
		}
	}
	return 0, false
}

// combine returns the slices of a frontend with the endpoints and weights of backends, and the
// share of connections that is refused because backends are invalid or have no endpoints.
func (e *engine) combine(f *frontend, backends []backend) (out []*watchers.EndpointSlice, refusedPerMille uint16) {
	weights := map[netip.AddrPort]uint32{}
	usable := make([]bool, len(backends))
	for _, family := range f.families {
		e.divide(f, backends, family, weights, usable)
	}
	total, refused, weighted := uint64(0), uint64(0), 0
	for i := range backends {
		total += backends[i].weight
		if backends[i].weight > 0 {
			weighted++
		}
		if !usable[i] {
			refused += backends[i].weight
		}
	}
	equal := true // all endpoints have the weight 1
	for _, w := range weights {
		equal = equal && w == 1
	}
	seen := map[string]bool{}
	for i := range backends {
		b := &backends[i]
		if b.reason != "" {
			continue
		}
		for original := range e.services.EndpointSlices(b.service) {
			port, ok := portOf(original, b.port, f.protocol)
			name := f.sliceName(b, original.Name)
			if !ok || !slices.Contains(f.families, original.Family) || seen[name] {
				continue // a second reference to the same port has added its weight
			}
			seen[name] = true
			slice := *original
			slice.Namespace, slice.Name, slice.Service = f.service.Namespace, name, f.service
			slice.Ports = []watchers.EndpointPort{{Name: f.port, Protocol: f.protocol, Port: port}}
			slice.Problems = nil // those of the original are reported with its Service
			if weighted > 1 {
				slice.Endpoints = withoutHints(slice.Endpoints)
			}
			if !equal || b.weight == 0 {
				slice.Details = withWeights(&slice, port, weights)
			}
			out = append(out, &slice)
		}
	}
	if total > 0 && refused < total {
		refusedPerMille = uint16(min(refused*1000+total/2, total*999) / total)
	}
	return out, refusedPerMille
}

// divide adds the weights of the endpoints of one family, and sets which backends have any.
func (e *engine) divide(f *frontend, backends []backend, family watchers.IPFamily, weights map[netip.AddrPort]uint32, usable []bool) {
	all := make([]eligible, len(backends))
	ready := false
	for i := range backends {
		all[i] = e.eligible(&backends[i], f, family)
		ready = ready || backends[i].weight > 0 && len(all[i].ready) > 0
	}
	groups := make([]shares.Group, len(backends))
	members := make([]map[netip.AddrPort]struct{}, len(backends))
	for i := range backends {
		members[i] = all[i].terminating
		if ready {
			members[i] = all[i].ready
		}
		groups[i] = shares.Group{Weight: backends[i].weight, Members: len(members[i])}
		usable[i] = usable[i] || len(members[i]) > 0
	}
	for i, weight := range shares.Divide(groups) {
		for at := range maps.Keys(members[i]) {
			weights[at] += weight
		}
		if backends[i].weight == 0 { // its endpoints only drain, unless another backend has them
			for at := range maps.Keys(all[i].ready) {
				weights[at] += 0
			}
		}
	}
}

// withWeights returns details with weights. Endpoints without a weight get no connections anyway.
func withWeights(slice *watchers.EndpointSlice, port uint16, weights map[netip.AddrPort]uint32) []watchers.EndpointDetails {
	out := make([]watchers.EndpointDetails, len(slice.Endpoints))
	copy(out, slice.Details)
	for i := range out {
		if w, ok := weights[netip.AddrPortFrom(slice.Endpoints[i].Addr, port)]; ok {
			out[i].Weight = &w
		}
	}
	return out
}

// withoutHints returns endpoints without hints, which would change the shares of backends by zone.
func withoutHints(endpoints []watchers.Endpoint) []watchers.Endpoint {
	if !slices.ContainsFunc(endpoints, func(e watchers.Endpoint) bool { return e.Hints != nil }) {
		return endpoints
	}
	out := slices.Clone(endpoints)
	for i := range out {
		out[i].Hints = nil
	}
	return out
}

// sliceName returns the name of a slice with the endpoints of a slice of a backend. Names of slices
// in the API have no colons.
func (f *frontend) sliceName(b *backend, slice string) string {
	const maxName = 253
	name := fmt.Sprintf("%s:%s:%d:%s:%s", f.service.Name, f.port, b.number, b.service.Namespace, slice)
	if len(name) > maxName {
		return fmt.Sprintf("%x", sha256.Sum256([]byte(name)))
	}
	return name
}
