// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// The pools of a plan, in the order in which a route prefers them.
const (
	poolNear    overlay.Pool = iota // meant for this node alone
	poolCluster                     // anywhere
	poolLocal                       // on this node
)

// A ResolvedService is what one Service means, for every node of a cluster: what nodes of a
// zone have in common, and what single nodes have of their own. It never changes, and
// any number of goroutines may use one.
type ResolvedService struct {
	name            localsink.ServiceName
	ports           []meaningPort
	healthCheckPort uint16
	problems        []localsink.Problem

	mu     sync.Mutex
	common map[string]*overlay.Base    // by zone; those that no hint divides are under ""
	own    map[string]*overlay.Overlay // nil until somebody asks for all
}

// A meaningPort is one port: what is said of it, and which endpoints it has.
type meaningPort struct {
	overlay.Port // without endpoints
	reaches      []reach
	usesLocal    bool // some route leads to poolLocal
}

// Name returns the Service's name.
func (m *ResolvedService) Name() localsink.ServiceName { return m.name }

// silent says that there is nothing to serve and nothing to say.
func (m *ResolvedService) silent() bool { return len(m.ports) == 0 && len(m.problems) == 0 }

// Base returns what all nodes of a zone have in common; "" is nodes of no zone. Zones
// that hints do not tell apart share one value.
func (m *ResolvedService) Base(zone string) *overlay.Base {
	zone = m.effective(zone)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.common[zone]
	if s == nil {
		s = m.of(zone)
		if m.common == nil {
			m.common = map[string]*overlay.Base{}
		}
		m.common[zone] = s
	}
	return s
}

// effective returns zone if some port treats its nodes in a way of their own.
func (m *ResolvedService) effective(zone string) string {
	for i := range m.ports {
		for j := range m.ports[i].reaches {
			if m.ports[i].reaches[j].divides(zone) {
				return zone
			}
		}
	}
	return ""
}

// of computes the common part for a zone.
func (m *ResolvedService) of(zone string) *overlay.Base {
	s := &overlay.Base{Name: m.name, HealthCheckPort: m.healthCheckPort, Problems: m.problems}
	if len(m.ports) > 0 {
		s.Ports = make([]overlay.Port, len(m.ports))
	}
	for i := range m.ports {
		s.Ports[i] = m.ports[i].Port
		n := 0
		for j := range m.ports[i].reaches {
			n += len(m.ports[i].reaches[j].all)
		}
		endpoints := make([]overlay.Endpoint, 0, n)
		for j := range m.ports[i].reaches {
			endpoints = m.ports[i].reaches[j].common(zone, endpoints)
		}
		s.Ports[i].Endpoints = endpoints
	}
	return s
}

// common adds the endpoints that nodes of a zone know of.
func (r *reach) common(zone string, to []overlay.Endpoint) []overlay.Endpoint {
	cluster := r.cluster(zone)
	for i := range r.all {
		e := overlay.Endpoint{Addr: r.all[i].addr, Drain: r.all[i].endpoint.Serving}
		if cluster(&r.all[i]) {
			e.Pools = overlay.NewPoolSet(poolCluster)
		}
		if e.Drain || e.Pools != 0 {
			to = append(to, e)
		}
	}
	return to
}

// Overlay returns what one node has of its own, nil for nothing.
func (m *ResolvedService) Overlay(node string) *overlay.Overlay {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.own != nil {
		return m.own[node]
	}
	return m.ownOf(node)
}

// Overlays returns every node that has something of its own, and what. It remembers them,
// so that [ResolvedService.Own] costs a look from then on; nobody may write to the result.
func (m *ResolvedService) Overlays() map[string]*overlay.Overlay {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.own == nil {
		m.own = m.owns()
	}
	return m.own
}

// ownOf looks at all endpoints for the sake of one node.
func (m *ResolvedService) ownOf(node string) *overlay.Overlay {
	var own overlay.Overlay
	var ready [2]map[netip.Addr]struct{}
	for i := range m.ports {
		p := &m.ports[i]
		for j := range p.reaches {
			r := &p.reaches[j]
			own.Endpoints = r.own(node, i, p.usesLocal, r.all, own.Endpoints)
			if m.healthCheckPort != 0 {
				localReady(node, r.all, &ready)
			}
		}
	}
	own.LocalEndpoints = max(len(ready[0]), len(ready[1]))
	if own.Equal(nil) {
		return nil
	}
	return &own
}

// own adds what a port has for one node. Only some of all candidates need be given, if
// all that are on the node or meant for it are among them.
func (r *reach) own(node string, port int, usesLocal bool, some []candidate, to []overlay.OverlayEndpoint) []overlay.OverlayEndpoint {
	near, local := r.near(node), localOf(node, some)
	for i := range some {
		e := &some[i]
		o := overlay.OverlayEndpoint{Port: port, Local: e.on(node), Endpoint: overlay.Endpoint{Addr: e.addr, Drain: e.endpoint.Serving}}
		if near(e) {
			o.Pools |= overlay.NewPoolSet(poolNear)
		}
		if usesLocal && local(e) {
			o.Pools |= overlay.NewPoolSet(poolLocal)
		}
		if o.Pools != 0 || o.Local && (e.ready() || e.endpoint.Serving) {
			to = append(to, o)
		}
	}
	return to
}

// localReady adds the addresses of a node's ready endpoints, by family.
func localReady(node string, some []candidate, addrs *[2]map[netip.Addr]struct{}) {
	for i := range some {
		if !some[i].on(node) || !some[i].ready() {
			continue
		}
		f := 0
		if addr := some[i].addr.Addr(); addr.Is6() {
			f = 1
		}
		if addrs[f] == nil {
			addrs[f] = map[netip.Addr]struct{}{}
		}
		addrs[f][some[i].addr.Addr()] = struct{}{}
	}
}

// owns computes what every node has of its own, in time that does not grow with the
// number of nodes: endpoints are sorted by whom they concern.
func (m *ResolvedService) owns() map[string]*overlay.Overlay {
	type place struct {
		node        string
		port, reach int
		candidate   candidate
	}
	var places []place
	for i := range m.ports {
		for j := range m.ports[i].reaches {
			for _, c := range m.ports[i].reaches[j].all {
				if c.endpoint.Node != "" {
					places = append(places, place{c.endpoint.Node, i, j, c})
				}
				for k, n := range hints(&c).Nodes {
					if n != c.endpoint.Node && slices.Index(hints(&c).Nodes, n) == k {
						places = append(places, place{n, i, j, c})
					}
				}
			}
		}
	}
	// The sort is stable, so endpoints stay in order within a port.
	slices.SortStableFunc(places, func(a, b place) int { return strings.Compare(a.node, b.node) })
	all := map[string]*overlay.Overlay{}
	for len(places) > 0 {
		node, own := places[0].node, &overlay.Overlay{}
		var ready [2]map[netip.Addr]struct{}
		for len(places) > 0 && places[0].node == node {
			p, some := places[0], []candidate(nil)
			for len(places) > 0 && places[0].node == node && places[0].port == p.port && places[0].reach == p.reach {
				some, places = append(some, places[0].candidate), places[1:]
			}
			port := &m.ports[p.port]
			own.Endpoints = port.reaches[p.reach].own(node, p.port, port.usesLocal, some, own.Endpoints)
			if m.healthCheckPort != 0 {
				localReady(node, some, &ready)
			}
		}
		own.LocalEndpoints = max(len(ready[0]), len(ready[1]))
		if !own.Equal(nil) {
			all[node] = own
		}
	}
	return all
}

// compute says what the node of v must do for a Service, as if it got every address
// that it asks for.
func (v *view) compute(svc *watchers.Service, list []*watchers.EndpointSlice) *localsink.Service {
	return v.assemble(newMeaning(svc, list, v.masqueradeAll))
}

func (v *view) assemble(m *ResolvedService) *localsink.Service {
	return overlay.Assemble(m.of(m.effective(v.zone)), m.ownOf(v.node.Name), v.node)
}
