// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// Assemble returns what a node must do for a Service. own may be nil. The result shares
// memory with s, and nothing else with it or own.
func Assemble(s *Base, own *Overlay, node *localsink.Node) *localsink.Service {
	out := &localsink.Service{Name: s.Name, Problems: s.Problems}
	if len(s.Ports) > 0 {
		out.Ports = make([]localsink.Port, 0, len(s.Ports))
	}
	for i := range s.Ports {
		if len(s.Ports[i].Frontends) == 0 {
			continue // nobody can dial it
		}
		out.Ports = append(out.Ports, assemblePort(&s.Ports[i], own.of(i), node))
	}
	if s.HealthCheckPort != 0 {
		out.HealthCheck = &localsink.HealthCheck{Port: s.HealthCheckPort}
		if own != nil {
			out.HealthCheck.LocalEndpoints = own.LocalEndpoints
		}
	}
	return out
}

// of returns the endpoints of one port.
func (a *Overlay) of(port int) []OverlayEndpoint {
	if a == nil {
		return nil
	}
	begin := slices.IndexFunc(a.Endpoints, func(e OverlayEndpoint) bool { return e.Port == port })
	if begin < 0 {
		return nil
	}
	end := begin
	for end < len(a.Endpoints) && a.Endpoints[end].Port == port {
		end++
	}
	return a.Endpoints[begin:end]
}

// A mixer makes the routes and pools of one port.
type mixer struct {
	out  localsink.Port
	node *localsink.Node
	all  []Endpoint // of the port, with what is the node's own
	own  []OverlayEndpoint
	used [2]PoolSet // by family: what routes lead to
	// index says, by family and pool, which of out.Pools it is, plus one.
	index [2][MaxPool + 1]int
	made  []madeRoutes
}

// madeRoutes are routes that several frontends share.
type madeRoutes struct {
	of     *Route // the first
	family int
	routes []localsink.Route
}

func assemblePort(p *Port, own []OverlayEndpoint, node *localsink.Node) localsink.Port {
	m := &mixer{node: node, all: merge(p.Endpoints, own), own: own}
	m.out = localsink.Port{Name: p.Name, Protocol: p.Protocol, Affinity: p.Affinity}
	m.out.Frontends = make([]localsink.Frontend, 0, len(p.Frontends))
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		m.out.Frontends = append(m.out.Frontends, localsink.Frontend{
			Kind: fe.Kind, Addr: fe.Addr, SourceRanges: sources(fe, node), Routes: m.routes(fe),
		})
	}
	for i := range m.all {
		e := &m.all[i]
		if e.Drain && e.Pools&m.used[family(e.Addr)] == 0 {
			m.out.Draining = append(m.out.Draining, e.Addr)
		}
	}
	return m.out
}

// merge returns all with what own adds.
func merge(all []Endpoint, own []OverlayEndpoint) []Endpoint {
	if len(own) == 0 {
		return all
	}
	out := make([]Endpoint, 0, len(all)+len(own))
	for i := range own {
		n, found := slices.BinarySearchFunc(all, own[i].Addr, func(e Endpoint, a netip.AddrPort) int { return e.Addr.Compare(a) })
		out = append(out, all[:n]...)
		e := own[i].Endpoint
		if found {
			e.Pools, e.Drain = e.Pools|all[n].Pools, e.Drain || all[n].Drain
			n++
		}
		out, all = append(out, e), all[n:]
	}
	return append(out, all...)
}

func family(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return 0
	}
	return 1
}

// sources returns whom a frontend lets in on a node.
func sources(fe *Frontend, node *localsink.Node) []netip.Prefix {
	within := func(ip netip.Addr) bool {
		return slices.ContainsFunc(fe.SourceRanges, func(p netip.Prefix) bool { return p.Contains(ip) })
	}
	if len(fe.NodeSourceRanges) == 0 || !slices.ContainsFunc(node.IPs, within) {
		return fe.SourceRanges
	}
	all := slices.Concat(fe.SourceRanges, fe.NodeSourceRanges)
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}

func (m *mixer) routes(fe *Frontend) []localsink.Route {
	if len(fe.Routes) == 0 {
		return nil
	}
	f, first := family(fe.Addr), &fe.Routes[0]
	for i := range m.made {
		if m.made[i].of == first && m.made[i].family == f {
			return m.made[i].routes
		}
	}
	known := m.podsKnown(fe.Addr.Addr().Is4())
	routes := make([]localsink.Route, 0, len(fe.Routes))
	for i := range fe.Routes {
		r := &fe.Routes[i]
		if r.Condition == ConditionPodsKnown && !known || r.Condition == ConditionPodsUnknown && known {
			continue
		}
		routes = append(routes, localsink.Route{From: r.From, Pool: m.pool(f, r.Pools), Masquerade: r.Masquerade, EmptyVerdict: r.EmptyVerdict})
	}
	m.made = append(m.made, madeRoutes{first, f, routes})
	return routes
}

// podsKnown says whether the node can tell packets of its own pods in a family.
func (m *mixer) podsKnown(v4 bool) bool {
	src := &m.node.LocalPods
	return src.Interface != "" || src.InterfacePrefix != "" ||
		slices.ContainsFunc(src.Networks, func(p netip.Prefix) bool { return p.Addr().Is4() == v4 })
}

// pool returns the index of the first of the pools that has endpoints, or of the last.
func (m *mixer) pool(f int, pools []Pool) int {
	for i, p := range pools {
		if at := m.index[f][p]; at > 0 {
			if len(m.out.Pools[at-1].Endpoints) > 0 || i == len(pools)-1 {
				return at - 1
			}
			continue
		}
		endpoints := m.pick(f, p)
		if len(endpoints) == 0 && i < len(pools)-1 {
			continue
		}
		same := func(o localsink.Pool) bool { return slices.Equal(o.Endpoints, endpoints) }
		at := slices.IndexFunc(m.out.Pools, same)
		if at < 0 {
			at = len(m.out.Pools)
			m.out.Pools = append(m.out.Pools, localsink.Pool{Endpoints: endpoints})
		}
		m.index[f][p] = at + 1
		m.used[f] |= NewPoolSet(p)
		return at
	}
	return 0
}

// pick returns the endpoints of a pool in a family.
func (m *mixer) pick(f int, p Pool) []localsink.Endpoint {
	n := 0
	for i := range m.all {
		if m.all[i].Pools.Has(p) && family(m.all[i].Addr) == f {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out, own := make([]localsink.Endpoint, 0, n), m.own
	for i := range m.all {
		e := &m.all[i]
		if !e.Pools.Has(p) || family(e.Addr) != f {
			continue
		}
		for len(own) > 0 && own[0].Addr.Compare(e.Addr) < 0 {
			own = own[1:]
		}
		local := len(own) > 0 && own[0].Addr == e.Addr && own[0].Local
		out = append(out, localsink.Endpoint{Addr: e.Addr, Local: local})
	}
	return out
}
