// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/watchers"
)

// A portEndpoint is an endpoint of one Service port.
type portEndpoint struct {
	addr   netip.AddrPort
	object *watchers.Endpoint
}

// ready reports whether e accepts new connections.
func (e *portEndpoint) ready() bool { return e.object.Ready }

// terminating reports whether e is terminating but still serving. Such an endpoint gets new
// connections only when no endpoint is ready.
func (e *portEndpoint) terminating() bool { return e.object.Serving && e.object.Terminating }

// isOn reports whether e is on the named node.
func (e *portEndpoint) isOn(node string) bool { return e.object.Node != "" && e.object.Node == node }

func (e *portEndpoint) hintsZone(zone string) bool { return slices.Contains(e.hints().Zones, zone) }
func (e *portEndpoint) hintsNode(node string) bool { return slices.Contains(e.hints().Nodes, node) }

func (e *portEndpoint) hints() watchers.Hints {
	if e.object.Hints == nil {
		return watchers.Hints{}
	}
	return *e.object.Hints
}

// endpointSetOf returns the endpoints of one port and family.
func endpointSetOf(endpointSlices []*watchers.EndpointSlice, family watchers.IPFamily, port *watchers.ServicePort) endpointSet {
	endpoints := endpointsOf(endpointSlices, family, port)
	return newEndpointSet(family, endpoints, propertiesOf(endpointSlices, endpoints))
}

// endpointsOf returns the endpoints that all EndpointSlices of a family have for one port: a
// slice's port belongs to the Service's port of the same name and protocol. The result is
// ordered by address and port, and has each once. When several slices list an endpoint, the
// entry of the highest rank is used, independent of the order of the slices.
func endpointsOf(endpointSlices []*watchers.EndpointSlice, family watchers.IPFamily, port *watchers.ServicePort) []portEndpoint {
	var all []portEndpoint
	for _, slice := range endpointSlices {
		if slice.Family != family {
			continue
		}
		for _, p := range slice.Ports {
			if p.Name != port.Name || p.Protocol != port.Protocol || p.Port == 0 {
				continue
			}
			all = slices.Grow(all, len(slice.Endpoints))
			for i := range slice.Endpoints {
				object := &slice.Endpoints[i]
				all = append(all, portEndpoint{netip.AddrPortFrom(object.Addr, p.Port), object})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b portEndpoint) int {
		return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(b.rank(), a.rank()), strings.Compare(a.object.Node, b.object.Node))
	})
	return slices.CompactFunc(all, func(a, b portEndpoint) bool { return a.addr == b.addr })
}

// rank orders the entries of one endpoint: not terminating before ready before serving
// before being on a node.
func (e *portEndpoint) rank() int {
	rank := 0
	for _, condition := range []bool{!e.object.Terminating, e.object.Ready, e.object.Serving, e.object.Node != ""} {
		rank <<= 1
		if condition {
			rank |= 1
		}
	}
	return rank
}

// An endpointSet holds the endpoints of one port and family, with what all nodes need to
// select from them. It does not depend on a node.
type endpointSet struct {
	family    watchers.IPFamily
	endpoints []portEndpoint // ordered by address
	anyReady  bool
	// anyUsable reports whether some endpoint of the cluster is ready, or is terminating
	// but still serving. When it is false, no node can serve a client.
	anyUsable bool
	// zoneHints and nodeHints report whether topology hints of that kind apply. They apply
	// only if every ready endpoint has one: otherwise the endpoints with hints would be
	// overloaded.
	zoneHints, nodeHints bool
	properties           *endpointProperties // nil if all endpoints have the default ones
}

func newEndpointSet(family watchers.IPFamily, endpoints []portEndpoint, properties *endpointProperties) endpointSet {
	s := endpointSet{family: family, endpoints: endpoints, zoneHints: true, nodeHints: true, properties: properties}
	for i := range endpoints {
		e := &endpoints[i]
		if !e.ready() {
			s.anyUsable = s.anyUsable || e.terminating()
			continue
		}
		s.anyReady, s.anyUsable = true, true
		s.zoneHints = s.zoneHints && len(e.hints().Zones) > 0
		s.nodeHints = s.nodeHints && len(e.hints().Nodes) > 0
	}
	s.zoneHints, s.nodeHints = s.zoneHints && s.anyReady, s.nodeHints && s.anyReady
	return s
}

// restrictsZone reports whether topology hints restrict the nodes of a zone to some of the
// endpoints. At least one ready endpoint must have a hint for the zone.
func (s *endpointSet) restrictsZone(zone string) bool {
	return zone != "" && s.zoneHints &&
		slices.ContainsFunc(s.endpoints, func(e portEndpoint) bool { return e.ready() && e.hintsZone(zone) })
}

// clusterFilter selects the endpoints for traffic that may leave a node of a zone: ready
// ones, restricted by zone hints, or terminating ones when none is ready.
func (s *endpointSet) clusterFilter(zone string) func(*portEndpoint) bool {
	selected := (*portEndpoint).ready
	switch {
	case !s.anyReady:
		selected = (*portEndpoint).terminating
	case s.restrictsZone(zone):
		selected = func(e *portEndpoint) bool { return e.ready() && e.hintsZone(zone) }
	}
	if s.ordered() {
		return s.properties.firstInOrder(s.endpoints, selected)
	}
	return selected
}

// nodeHintFilter selects the endpoints with a hint for a node. When there are any, they
// precede those that clusterFilter selects. endpoints must contain all endpoints of the set
// with a hint for the node; it may contain others.
func (s *endpointSet) nodeHintFilter(node string, endpoints []portEndpoint) func(*portEndpoint) bool {
	if s.ordered() {
		return s.properties.firstInOrder(endpoints, s.hasNodeHint(node))
	}
	return s.hasNodeHint(node)
}

// none is a filter that selects no endpoint.
func none(*portEndpoint) bool { return false }

func (s *endpointSet) hasNodeHint(node string) func(*portEndpoint) bool {
	return func(e *portEndpoint) bool { return s.nodeHints && e.ready() && e.hintsNode(node) }
}

// ordered reports whether a policy has set an order.
func (s *endpointSet) ordered() bool { return s.properties != nil && len(s.properties.orders) > 0 }

// localFilter selects the endpoints for traffic that must stay on a node: ready ones, or
// terminating ones when none of the node is ready. Hints are ignored. endpoints must
// contain all endpoints of the set on the node; it may contain others.
func (s *endpointSet) localFilter(node string, endpoints []portEndpoint) func(*portEndpoint) bool {
	ready := slices.ContainsFunc(endpoints, func(e portEndpoint) bool { return e.isOn(node) && e.ready() })
	selected := func(e *portEndpoint) bool { return e.isOn(node) && (e.ready() || !ready && e.terminating()) }
	if s.ordered() {
		return s.properties.firstInOrder(endpoints, selected)
	}
	return selected
}
