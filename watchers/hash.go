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
	h.String(s.Name.Origin)
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
		h.Uint(uint64(p.NodePort) | uint64(p.Selection)<<16 | uint64(p.RefusedPerMille)<<32)
	})
	h.Bool(s.ProxyName != nil)
	if s.ProxyName != nil {
		h.String(*s.ProxyName)
	}
	hashProblems(h, s.Problems)
	hashExtensions(h, s.Extensions)
	h.Bool(s.Details != nil)
	if s.Details != nil {
		s.Details.hash(h)
	}
}

func (d *ServiceDetails) hash(h *diffstore.Hash) {
	h.Bool(d.Headless)
	h.String(d.ExternalName)
	h.String(d.LoadBalancerClass)
	hashList(h, d.AppProtocols, h.String)
}

func (s *EndpointSlice) hash(h *diffstore.Hash) {
	h.String(s.Namespace)
	h.String(s.Name)
	h.String(s.Service.Namespace)
	h.String(s.Service.Name)
	h.String(s.Service.Origin)
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
	h.Len(len(s.Details))
	for i := range s.Details {
		s.Details[i].hash(h)
	}
	hashProblems(h, s.Problems)
	hashExtensions(h, s.Extensions)
}

func (d *EndpointDetails) hash(h *diffstore.Hash) {
	h.Bool(d.Weight != nil)
	if d.Weight != nil {
		h.Uint(uint64(*d.Weight))
	}
	hashExtensions(h, d.Extensions)
	h.String(d.Hostname)
	h.String(d.Zone)
	h.String(d.Target.Kind)
	h.String(d.Target.Namespace)
	h.String(d.Target.Name)
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
	hashExtensions(h, n.Extensions)
}

func (c *ServiceCIDR) hash(h *diffstore.Hash) {
	h.String(c.Name)
	hashList(h, c.Networks, h.Prefix)
	hashProblems(h, c.Problems)
}

func hashExtensions(h *diffstore.Hash, x Extensions) {
	h.Len(x.Len())
	for e := range x.All() {
		h.String(e.Key)
		h.String(e.Value)
	}
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
