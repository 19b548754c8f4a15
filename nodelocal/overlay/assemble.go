// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// Assemble returns the desired state of a Service on one node. overlay may be nil. The
// result shares memory with base, none with overlay or node, and must not be modified.
func Assemble(base *Base, overlay *Overlay, node *localsink.Node) *localsink.Service {
	out := &localsink.Service{Name: base.Name, Problems: base.Problems, Extensions: base.Extensions}
	if len(base.Ports) > 0 {
		out.Ports = make([]localsink.Port, 0, len(base.Ports))
	}
	for i := range base.Ports {
		if len(base.Ports[i].Frontends) > 0 { // a port without an address is unreachable
			out.Ports = append(out.Ports, assemblePort(&base.Ports[i], overlay.endpointsOf(i), node))
		}
	}
	if base.HealthCheckPort != 0 {
		out.HealthCheck = &localsink.HealthCheck{Port: base.HealthCheckPort}
		if overlay != nil {
			out.HealthCheck.LocalEndpoints = overlay.LocalEndpoints
		}
	}
	return out
}

// A portAssembler builds the routes and pools of one port.
type portAssembler struct {
	out     localsink.Port
	node    *localsink.Node
	merged  []Endpoint // of the base and the overlay
	overlay []NodeEndpoint
	used    [2]PoolSet // by address family: the pools that routes use
	// poolIndex is, by address family and pool, the index in out.Pools plus one; 0 is unset.
	poolIndex [2][MaxPool + 1]int
	shared    []sharedRoutes
}

// sharedRoutes are assembled routes that several frontends share.
type sharedRoutes struct {
	source *Route // the first element of the base's list, which identifies the list
	family int
	routes []localsink.Route
}

func assemblePort(p *Port, overlay []NodeEndpoint, node *localsink.Node) localsink.Port {
	a := &portAssembler{node: node, merged: merge(p.Endpoints, overlay), overlay: overlay}
	a.out = localsink.Port{
		Name: p.Name, Protocol: p.Protocol, Affinity: p.Affinity, Selection: p.Selection,
		RefusedPerMille: p.RefusedPerMille, EndpointExtensions: p.EndpointExtensions,
	}
	a.out.Frontends = make([]localsink.Frontend, 0, len(p.Frontends))
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		a.out.Frontends = append(a.out.Frontends, localsink.Frontend{
			Kind: fe.Kind, Addr: fe.Addr, SourceRanges: sourceRanges(fe, node), Routes: a.routes(fe),
		})
	}
	for i := range a.merged {
		e := &a.merged[i]
		if e.Drain && e.Pools&a.used[family(e.Addr)] == 0 {
			a.out.Draining = append(a.out.Draining, e.Addr)
		}
	}
	return a.out
}

// merge returns base with the endpoints of overlay added; both are ordered by address.
func merge(base []Endpoint, overlay []NodeEndpoint) []Endpoint {
	if len(overlay) == 0 {
		return base
	}
	out := make([]Endpoint, 0, len(base)+len(overlay))
	for i := range overlay {
		n, found := slices.BinarySearchFunc(base, overlay[i].Addr, func(e Endpoint, a netip.AddrPort) int { return e.Addr.Compare(a) })
		out = append(out, base[:n]...)
		e := overlay[i].Endpoint
		if found {
			e.Pools, e.Drain, e.Weight = e.Pools|base[n].Pools, e.Drain || base[n].Drain, base[n].Weight
			n++
		}
		out, base = append(out, e), base[n:]
	}
	return append(out, base...)
}

// family returns the index of an address family: 0 for IPv4, 1 for IPv6.
func family(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return 0
	}
	return 1
}

// sourceRanges returns the client addresses that a frontend permits on node.
func sourceRanges(fe *Frontend, node *localsink.Node) []netip.Prefix {
	permitted := func(ip netip.Addr) bool {
		return slices.ContainsFunc(fe.SourceRanges, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	if len(fe.NodeSourceRanges) == 0 || !slices.ContainsFunc(node.IPs, permitted) {
		return fe.SourceRanges
	}
	all := slices.Concat(fe.SourceRanges, fe.NodeSourceRanges)
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

func (a *portAssembler) routes(fe *Frontend) []localsink.Route {
	if len(fe.Routes) == 0 {
		return nil
	}
	f, first := family(fe.Addr), &fe.Routes[0]
	for i := range a.shared {
		if a.shared[i].source == first && a.shared[i].family == f {
			return a.shared[i].routes
		}
	}
	known := a.podsKnown(fe.Addr.Addr().Is4())
	routes := make([]localsink.Route, 0, len(fe.Routes))
	for i := range fe.Routes {
		r := &fe.Routes[i]
		if r.Condition == ConditionPodsKnown && !known || r.Condition == ConditionPodsUnknown && known {
			continue
		}
		routes = append(routes, localsink.Route{From: r.From, Pool: a.pool(f, r.Pools), Masquerade: r.Masquerade, EmptyVerdict: r.EmptyVerdict})
	}
	a.shared = append(a.shared, sharedRoutes{first, f, routes})
	return routes
}

// podsKnown reports whether the node recognises packets of its local pods in a family.
func (a *portAssembler) podsKnown(v4 bool) bool {
	pods := &a.node.LocalPods
	return pods.Interface != "" || pods.InterfacePrefix != "" ||
		slices.ContainsFunc(pods.Networks, func(p netip.Prefix) bool { return p.Addr().Is4() == v4 })
}

// pool returns the index in out.Pools of the first of pools that has endpoints, or of the
// last.
func (a *portAssembler) pool(f int, pools []Pool) int {
	for i, p := range pools {
		last := i == len(pools)-1
		if n := a.poolIndex[f][p]; n > 0 {
			if len(a.out.Pools[n-1].Endpoints) > 0 || last {
				return n - 1
			}
			continue
		}
		endpoints := a.endpoints(f, p)
		if len(endpoints) == 0 && !last {
			continue
		}
		equal := func(o localsink.Pool) bool { return slices.Equal(o.Endpoints, endpoints) }
		n := slices.IndexFunc(a.out.Pools, equal)
		if n < 0 {
			n = len(a.out.Pools)
			a.out.Pools = append(a.out.Pools, localsink.Pool{Endpoints: endpoints})
		}
		a.poolIndex[f][p] = n + 1
		a.used[f] |= NewPoolSet(p)
		return n
	}
	return 0
}

// endpoints returns the endpoints of a pool in a family.
func (a *portAssembler) endpoints(f int, p Pool) []localsink.Endpoint {
	n := 0
	for i := range a.merged {
		if a.merged[i].Pools.Has(p) && family(a.merged[i].Addr) == f {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out, overlay := make([]localsink.Endpoint, 0, n), a.overlay
	for i := range a.merged {
		e := &a.merged[i]
		if !e.Pools.Has(p) || family(e.Addr) != f {
			continue
		}
		for len(overlay) > 0 && overlay[0].Addr.Compare(e.Addr) < 0 {
			overlay = overlay[1:]
		}
		local := len(overlay) > 0 && overlay[0].Addr == e.Addr && overlay[0].Local
		out = append(out, localsink.Endpoint{Addr: e.Addr, Local: local, Weight: max(1, e.Weight)})
	}
	return out
}
