// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"net/netip"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// hashService covers the whole content of a Service; a test mutates every field to
// prove it.
func hashService(h *diffstore.Hash, s *localsink.Service) {
	h.String(s.Name.Namespace)
	h.String(s.Name.Name)
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
}

func hashPort(h *diffstore.Hash, p *localsink.Port) {
	h.String(p.Name)
	h.Uint(uint64(p.Protocol))
	h.Uint(uint64(p.Affinity))
	h.Len(len(p.Frontends))
	for _, fe := range p.Frontends {
		h.Uint(uint64(fe.Kind))
		h.AddrPort(fe.Addr)
		hashSources(h, fe.SourceRanges)
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
			h.Bool(e.Local)
		}
	}
	h.Len(len(p.Draining))
	for _, a := range p.Draining {
		h.AddrPort(a)
	}
}

// hashSources tells nil, which lets in everybody, from empty, which lets in nobody.
func hashSources(h *diffstore.Hash, sources []netip.Prefix) {
	h.Bool(sources == nil)
	h.Len(len(sources))
	for _, p := range sources {
		h.Prefix(p)
	}
}
