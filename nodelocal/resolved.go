// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// A ResolvedService is the desired state of one Service for every node of a cluster: a base
// that the nodes of a zone share, and an overlay per node. It is immutable, and its methods
// may be called concurrently.
type ResolvedService struct {
	name            localsink.ServiceName
	ports           []resolvedPort
	healthCheckPort uint16
	problems        []localsink.Problem
	extensions      localsink.Extensions

	mu       sync.Mutex                  // guards the cached results below
	bases    map[string]*overlay.Base    // by zone; "" for zones without hints of their own
	overlays map[string]*overlay.Overlay // by node; nil until Overlays is called
}

// A resolvedPort is one port with the endpoints from which nodes select.
type resolvedPort struct {
	overlay.Port               // without endpoints
	endpointSets []endpointSet // one per address family
	usesLocal    bool          // reports whether some route uses poolLocal
	passExternal bool          // see [PolicyPort]
}

// Name returns the Service's name.
func (svc *ResolvedService) Name() localsink.ServiceName { return svc.name }

// Problems returns the problems of the Service on all nodes. They must not be modified.
func (svc *ResolvedService) Problems() []localsink.Problem { return svc.problems }

// empty reports whether svc has neither ports nor problems.
func (svc *ResolvedService) empty() bool { return len(svc.ports) == 0 && len(svc.problems) == 0 }

// frontends returns each frontend with the address that it uses.
func (svc *ResolvedService) frontends() iter.Seq2[address, *overlay.Frontend] {
	return func(yield func(address, *overlay.Frontend) bool) {
		for i := range svc.ports {
			p := &svc.ports[i]
			for j := range p.Frontends {
				if !yield(newAddress(p.Frontends[j].Addr, p.Protocol), &p.Frontends[j]) {
					return
				}
			}
		}
	}
}

// Base returns the part that all nodes of a zone share; "" is for nodes without a zone.
// Zones that topology hints do not distinguish share one value, and repeated calls return
// the same value. The result must not be modified.
func (svc *ResolvedService) Base(zone string) *overlay.Base {
	zone = svc.baseZone(zone)
	svc.mu.Lock()
	defer svc.mu.Unlock()
	base := svc.bases[zone]
	if base == nil {
		base, _ = svc.newBase(zone, nil)
		if svc.bases == nil {
			svc.bases = map[string]*overlay.Base{}
		}
		svc.bases[zone] = base
	}
	return base
}

// baseZone returns zone if topology hints restrict its nodes on some port, otherwise "".
func (svc *ResolvedService) baseZone(zone string) string {
	for i := range svc.ports {
		for j := range svc.ports[i].endpointSets {
			if svc.ports[i].endpointSets[j].restrictsZone(zone) {
				return zone
			}
		}
	}
	return ""
}

// newBase returns the base of a zone. Its endpoints are in buffer, as far as they have room, which
// is returned.
func (svc *ResolvedService) newBase(zone string, buffer []overlay.Endpoint) (*overlay.Base, []overlay.Endpoint) {
	base := &overlay.Base{Name: svc.name, HealthCheckPort: svc.healthCheckPort, Problems: svc.problems, Extensions: svc.extensions}
	if len(svc.ports) > 0 {
		base.Ports = make([]overlay.Port, len(svc.ports))
	}
	buffer = slices.Grow(buffer, svc.countEndpoints())
	for i := range svc.ports {
		p := &svc.ports[i]
		base.Ports[i] = p.Port
		begin := len(buffer)
		for j := range p.endpointSets {
			buffer = p.endpointSets[j].appendBaseEndpoints(buffer, zone)
		}
		base.Ports[i].Endpoints = slices.Clip(buffer[begin:])
	}
	return base, buffer
}

// countEndpoints returns the number of endpoints of all ports.
func (svc *ResolvedService) countEndpoints() (n int) {
	for i := range svc.ports {
		for j := range svc.ports[i].endpointSets {
			n += len(svc.ports[i].endpointSets[j].endpoints)
		}
	}
	return n
}

// appendBaseEndpoints appends the endpoints that nodes of a zone use or drain.
func (s *endpointSet) appendBaseEndpoints(to []overlay.Endpoint, zone string) []overlay.Endpoint {
	selected := s.clusterFilter(zone)
	for i := range s.endpoints {
		e := &s.endpoints[i]
		out := overlay.Endpoint{Addr: e.addr, Drain: e.object.Serving, Weight: s.properties.weight(e.addr)}
		if selected(e) {
			out.Pools = overlay.NewPoolSet(poolCluster)
		}
		if out.Drain || out.Pools != 0 {
			to = append(to, out)
		}
	}
	return to
}

// Overlay returns the part of one node, or nil when it is empty. The result must not be
// modified. A call takes time proportional to the number of endpoints, and constant time
// after a call of [ResolvedService.Overlays].
func (svc *ResolvedService) Overlay(node string) *overlay.Overlay {
	svc.mu.Lock()
	defer svc.mu.Unlock()
	if svc.overlays != nil {
		return svc.overlays[node]
	}
	return svc.newOverlay(node)
}

// Overlays returns the parts of all nodes whose part is not empty, by name. The first call
// caches the result. The map must not be modified.
func (svc *ResolvedService) Overlays() map[string]*overlay.Overlay {
	svc.mu.Lock()
	defer svc.mu.Unlock()
	if svc.overlays == nil {
		svc.overlays = svc.newOverlays()
	}
	return svc.overlays
}

// newOverlay computes the overlay of one node from all endpoints.
func (svc *ResolvedService) newOverlay(node string) *overlay.Overlay {
	b := overlayBuilder{svc: svc, node: node}
	for i := range svc.ports {
		for j := range svc.ports[i].endpointSets {
			b.add(i, j, svc.ports[i].endpointSets[j].endpoints)
		}
	}
	return b.build()
}

// newOverlays computes the overlays of all nodes. Endpoints are grouped by node first, so
// that the time does not grow with the number of nodes.
func (svc *ResolvedService) newOverlays() map[string]*overlay.Overlay {
	all := map[string]*overlay.Overlay{}
	for placements := svc.placements(); len(placements) > 0; {
		b := overlayBuilder{svc: svc, node: placements[0].node}
		for len(placements) > 0 && placements[0].node == b.node {
			first, endpoints := placements[0], []portEndpoint(nil)
			for len(placements) > 0 && placements[0].sameSet(first) {
				endpoints, placements = append(endpoints, placements[0].endpoint), placements[1:]
			}
			b.add(first.port, first.set, endpoints)
		}
		if o := b.build(); o != nil {
			all[b.node] = o
		}
	}
	return all
}

// A placement associates an endpoint with a node that it is on or has a hint for.
type placement struct {
	node      string
	port, set int // indexes of the port and of its endpoint set
	endpoint  portEndpoint
}

// sameSet reports whether p and o are of one node and one endpoint set.
func (p *placement) sameSet(o placement) bool {
	return p.node == o.node && p.port == o.port && p.set == o.set
}

// placements returns the placements of all endpoints, ordered by node, port and address.
func (svc *ResolvedService) placements() []placement {
	var out []placement
	for i := range svc.ports {
		for j := range svc.ports[i].endpointSets {
			for _, e := range svc.ports[i].endpointSets[j].endpoints {
				if e.object.Node != "" {
					out = append(out, placement{e.object.Node, i, j, e})
				}
				for k, node := range e.hints().Nodes {
					if node != e.object.Node && slices.Index(e.hints().Nodes, node) == k {
						out = append(out, placement{node, i, j, e})
					}
				}
			}
		}
	}
	// The sort is stable, so that endpoints stay ordered within a port.
	slices.SortStableFunc(out, func(a, b placement) int { return strings.Compare(a.node, b.node) })
	return out
}

// An overlayBuilder builds the overlay of one node.
type overlayBuilder struct {
	svc   *ResolvedService
	node  string
	out   overlay.Overlay
	ready [2]map[netip.Addr]struct{} // by family: the addresses of ready local endpoints
}

// add adds the endpoints of one set of a port. endpoints must contain all endpoints that
// are on the node or have a hint for it; it may contain others.
func (b *overlayBuilder) add(port, set int, endpoints []portEndpoint) {
	p := &b.svc.ports[port]
	s := &p.endpointSets[set]
	local, hinted := s.localFilter(b.node, endpoints), none
	if s.nodeHints {
		hinted = s.nodeHintFilter(b.node, endpoints)
	}
	for i := range endpoints {
		e := &endpoints[i]
		o := overlay.NodeEndpoint{
			Port: port, Local: e.isOn(b.node),
			Endpoint: overlay.Endpoint{Addr: e.addr, Drain: e.object.Serving, Weight: s.properties.weight(e.addr)},
		}
		if hinted(e) {
			o.Pools |= overlay.NewPoolSet(poolNodeHint)
		}
		if p.usesLocal && local(e) {
			o.Pools |= overlay.NewPoolSet(poolLocal)
		}
		if o.Pools != 0 || o.Local && (e.ready() || e.object.Serving) {
			b.out.Endpoints = append(b.out.Endpoints, o)
		}
		if b.svc.healthCheckPort != 0 && o.Local && e.ready() {
			b.addReady(e.addr.Addr())
		}
	}
}

func (b *overlayBuilder) addReady(ip netip.Addr) {
	f := 0
	if watchers.FamilyOf(ip) == watchers.FamilyIPv6 {
		f = 1
	}
	if b.ready[f] == nil {
		b.ready[f] = map[netip.Addr]struct{}{}
	}
	b.ready[f][ip] = struct{}{}
}

// build returns the overlay, or nil when it is empty. A pod with addresses of both families
// counts as one local endpoint.
func (b *overlayBuilder) build() *overlay.Overlay {
	out := b.out // a copy, so that the result does not keep b
	out.LocalEndpoints = max(len(b.ready[0]), len(b.ready[1]))
	if out.Equal(nil) {
		return nil
	}
	return &out
}
