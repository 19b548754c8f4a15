// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"time"

	"sigs.k8s.io/kpng/diffstore"
)

// Each hash method writes the whole content of an object. A test changes each field to prove
// that none is missing.

func (s *Service) hash(h *diffstore.Hash) {
	h.String(s.Name.Namespace)
	h.String(s.Name.Name)
	hashTime(h, s.Created)
	h.Uint(uint64(s.Type))
	h.Addr(s.ClusterIP)
	hashList(h, s.ClusterIPs, h.Addr)
	hashList(h, s.IPFamilies, func(f IPFamily) { h.Uint(uint64(f)) })
	hashList(h, s.ExternalIPs, h.Addr)
	hashList(h, s.Ingress, func(i Ingress) { h.Addr(i.IP); h.Bool(i.Proxy) })
	hashList(h, s.SourceRanges, h.Prefix)
	h.Bool(s.HasSourceRanges)
	h.Bool(s.HasInvalidSourceRanges)
	h.Uint(uint64(s.InternalPolicy))
	h.Uint(uint64(s.ExternalPolicy))
	h.Uint(uint64(s.HealthCheckNodePort))
	h.Uint(uint64(s.Affinity))
	hashList(h, s.Ports, func(p ServicePort) {
		h.String(p.Name)
		h.Uint(uint64(p.Protocol))
		h.Uint(uint64(p.Port))
		h.Uint(uint64(p.NodePort))
	})
	h.Bool(s.ProxyName != nil)
	if s.ProxyName != nil {
		h.String(*s.ProxyName)
	}
	hashProblems(h, s.Problems)
}

func (s *EndpointSlice) hash(h *diffstore.Hash) {
	h.String(s.Namespace)
	h.String(s.Name)
	h.String(s.Service.Namespace)
	h.String(s.Service.Name)
	h.Uint(uint64(s.Family))
	hashList(h, s.Ports, func(p EndpointPort) {
		h.String(p.Name)
		h.Uint(uint64(p.Protocol))
		h.Uint(uint64(p.Port))
	})
	h.Len(len(s.Endpoints))
	for i := range s.Endpoints {
		s.Endpoints[i].hash(h)
	}
	hashProblems(h, s.Problems)
}

func (e *Endpoint) hash(h *diffstore.Hash) {
	h.Addr(e.Addr)
	h.String(e.Node)
	h.Bool(e.Ready)
	h.Bool(e.Serving)
	h.Bool(e.Terminating)
	h.Bool(e.Hints != nil)
	if e.Hints != nil {
		hashList(h, e.Hints.Zones, h.String)
		hashList(h, e.Hints.Nodes, h.String)
	}
}

func (n *Node) hash(h *diffstore.Hash) {
	h.String(n.Name)
	hashList(h, n.IPs, h.Addr)
	hashList(h, n.PodCIDRs, h.Prefix)
	h.String(n.Zone)
	h.Bool(n.Deleting)
	hashProblems(h, n.Problems)
}

func (c *ServiceCIDR) hash(h *diffstore.Hash) {
	h.String(c.Name)
	hashList(h, c.Networks, h.Prefix)
	hashProblems(h, c.Problems)
}

func hashProblems(h *diffstore.Hash, problems []Problem) {
	hashList(h, problems, func(p Problem) {
		h.String(p.Object)
		h.String(p.Field)
		h.String(p.Message)
	})
}

func hashList[T any](h *diffstore.Hash, list []T, add func(T)) {
	h.Len(len(list))
	for _, v := range list {
		add(v)
	}
}

func hashTime(h *diffstore.Hash, t time.Time) {
	h.Bool(t.IsZero())
	if !t.IsZero() {
		h.Uint(uint64(t.UnixNano()))
	}
}
