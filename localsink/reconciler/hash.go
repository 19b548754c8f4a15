// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"maps"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// hashService writes the whole content of a Service. A test changes each field to prove
// that none is missing.
func hashService(h *diffstore.Hash, s *localsink.Service) {
	h.String(s.Name.Namespace)
	h.String(s.Name.Name)
	h.String(s.Name.Origin)
	h.Len(len(s.Ports))
	for i := range s.Ports {
		hashPort(h, &s.Ports[i])
	}
	h.Bool(s.HealthCheck != nil)
	if s.HealthCheck != nil {
		h.Uint(uint64(s.HealthCheck.Port))
		h.Uint(uint64(s.HealthCheck.LocalEndpoints))
	}
	h.Len(len(s.Problems))
	for _, p := range s.Problems {
		h.String(p.Object)
		h.String(p.Field)
		h.String(p.Message)
	}
	hashExtensions(h, s.Extensions)
}

func hashPort(h *diffstore.Hash, p *localsink.Port) {
	h.String(p.Name)
	h.Uint(uint64(p.Protocol) | uint64(p.Selection)<<8 | uint64(p.RefusedPerMille)<<16 | uint64(len(p.EndpointExtensions))<<32)
	if len(p.EndpointExtensions) > 0 {
		hashEndpointExtensions(h, p.EndpointExtensions)
	}
	h.Uint(uint64(p.Affinity))
	h.Len(len(p.Frontends))
	for _, fe := range p.Frontends {
		h.Uint(uint64(fe.Kind))
		h.AddrPort(fe.Addr)
		hashSourceRanges(h, fe.SourceRanges)
		h.Len(len(fe.Routes))
		for _, r := range fe.Routes {
			h.Uint(uint64(r.From))
			h.Uint(uint64(r.Pool))
			h.Bool(r.Masquerade)
			h.Uint(uint64(r.EmptyVerdict))
		}
	}
	h.Len(len(p.Pools))
	for _, pool := range p.Pools {
		h.Len(len(pool.Endpoints))
		for _, e := range pool.Endpoints {
			h.AddrPort(e.Addr)
			local := uint64(0)
			if e.Local {
				local = 1
			}
			h.Uint(uint64(e.Weight)<<1 | local)
		}
	}
	h.Len(len(p.Draining))
	for _, a := range p.Draining {
		h.AddrPort(a)
	}
}

func hashEndpointExtensions(h *diffstore.Hash, extensions map[netip.AddrPort]localsink.Extensions) {
	for _, a := range slices.SortedFunc(maps.Keys(extensions), netip.AddrPort.Compare) {
		h.AddrPort(a)
		hashExtensions(h, extensions[a])
	}
}

func hashExtensions(h *diffstore.Hash, x localsink.Extensions) {
	h.Len(x.Len())
	for e := range x.All() {
		h.String(e.Key)
		h.String(e.Value)
	}
}

// hashSourceRanges distinguishes nil, which permits all clients, from an empty list, which
// permits none.
func hashSourceRanges(h *diffstore.Hash, ranges []netip.Prefix) {
	h.Bool(ranges == nil)
	h.Len(len(ranges))
	for _, p := range ranges {
		h.Prefix(p)
	}
}
