// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// An Explanation is the desired state of one Service on one node, with the reason for each
// endpoint. It is for display, as text or JSON; programs use [localsink.Service].
type Explanation struct {
	// Service is the desired state as [localsink.Service.Text] returns it, before address
	// conflicts with other Services are resolved.
	Service   string                `json:"service"`
	Endpoints []EndpointExplanation `json:"endpoints"`
	// Unmatched has one sentence for each Service port that an EndpointSlice does not have.
	Unmatched []string `json:"unmatched,omitempty"`
}

// An EndpointExplanation describes how one Service port uses one endpoint.
type EndpointExplanation struct {
	Port    string         `json:"port"`
	Address netip.AddrPort `json:"address"`
	// Slice is the name of the EndpointSlice.
	Slice string `json:"slice"`
	Node  string `json:"node,omitempty"`
	// ClusterTraffic reports whether traffic that may leave the node uses the endpoint.
	ClusterTraffic bool `json:"clusterTraffic"`
	// LocalTraffic reports whether traffic that must stay on the node uses the endpoint.
	LocalTraffic bool `json:"localTraffic"`
	// Weight is the share of new connections; 0 means that the endpoint gets none.
	Weight uint32 `json:"weight"`
	// Reasons are why cluster traffic does not use the endpoint.
	Reasons []string `json:"reasons,omitempty"`
}

// Use returns which traffic uses the endpoint, in words.
func (e *EndpointExplanation) Use() string {
	switch {
	case e.ClusterTraffic && e.LocalTraffic:
		return "used, also by traffic that must stay on this node"
	case e.ClusterTraffic:
		return "used"
	case e.LocalTraffic:
		return "used only by traffic that must stay on this node"
	}
	return "not used"
}

// Text returns the desired state of the Service, then one line per endpoint: its use and,
// if cluster traffic does not use it, the reasons.
func (x *Explanation) Text() string {
	var b strings.Builder
	b.WriteString(x.Service)
	for _, e := range x.Endpoints {
		fmt.Fprintf(&b, "  endpoint %s for port %q (slice %s, node %q): %s", e.Address, e.Port, e.Slice, e.Node, e.Use())
		if e.Weight > 1 {
			fmt.Fprintf(&b, ", weight %d", e.Weight)
		}
		if len(e.Reasons) > 0 {
			fmt.Fprintf(&b, ": %s", strings.Join(e.Reasons, "; "))
		}
		b.WriteByte('\n')
	}
	for _, u := range x.Unmatched {
		fmt.Fprintf(&b, "  %s\n", u)
	}
	return b.String()
}

// Explain returns the reasons for the desired state of a Service on the node of cfg. It
// returns nil when the snapshot has no such Service for the proxy of cfg, and an error when
// cfg is invalid.
func Explain(snapshot watchers.Snapshot, cfg Config, name watchers.ServiceName) (*Explanation, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	svc := snapshot.Service(name)
	if !cfg.Scope.selects(svc, cfg.ProxyName) {
		return nil, nil
	}
	node, endpointSlices := cfg.nodeState(snapshot), slices.Collect(snapshot.EndpointSlices(name))
	options := cfg.options()
	x := &Explanation{Service: node.assemble(resolve(svc, endpointSlices, options), new([]overlay.Endpoint)).Text()}
	if len(endpointSlices) == 0 {
		x.Unmatched = append(x.Unmatched, "there is no EndpointSlice for it")
	}
	families := newServiceFamilies(svc, options)
	for i := range svc.Ports {
		for _, slice := range endpointSlices {
			x.addUnmatched(slice, &svc.Ports[i])
		}
		port := (&ResolvedService{}).resolvePort(svc, endpointSlices, &svc.Ports[i], families[:], options.policy)
		for _, family := range []watchers.IPFamily{watchers.FamilyIPv4, watchers.FamilyIPv6} {
			j := slices.IndexFunc(port.endpointSets, func(s endpointSet) bool { return s.family == family })
			switch {
			case j >= 0:
				x.addEndpoints(node, endpointSlices, port.Name, &port.endpointSets[j], "")
			case options.omitted.family(family):
				set := endpointSetOf(endpointSlices, family, &svc.Ports[i])
				x.addEndpoints(node, endpointSlices, port.Name, &set, fmt.Sprintf("IPv%d is not served", family))
			default:
				set := endpointSetOf(endpointSlices, family, &svc.Ports[i])
				x.addEndpoints(node, endpointSlices, port.Name, &set, withoutFamily(svc, family))
			}
		}
	}
	return x, nil
}

// withoutFamily returns why the endpoints of a family are not used.
func withoutFamily(svc *watchers.Service, family watchers.IPFamily) string {
	if svc.Name.Origin != "" {
		return fmt.Sprintf("the Service has no IPv%d address", family)
	}
	return fmt.Sprintf("the Service has no IPv%d cluster IP", family)
}

// addUnmatched adds a sentence when the slice does not have the port.
func (x *Explanation) addUnmatched(slice *watchers.EndpointSlice, port *watchers.ServicePort) {
	var has []string
	for _, p := range slice.Ports {
		if p.Name == port.Name && p.Protocol == port.Protocol {
			return
		}
		has = append(has, fmt.Sprintf("%q/%s", p.Name, p.Protocol))
	}
	x.Unmatched = append(x.Unmatched, fmt.Sprintf("slice %s has no port %q/%s; it has %s",
		slice.Name, port.Name, port.Protocol, strings.Join(has, ", ")))
}

// addEndpoints adds the endpoints that one port has in a family. reason is why the
// family is not served; empty if it is.
func (x *Explanation) addEndpoints(node *nodeState, endpointSlices []*watchers.EndpointSlice, port string, set *endpointSet, reason string) {
	cluster, local := node.clusterFilter(set), set.localFilter(node.node.Name, set.endpoints)
	for i := range set.endpoints {
		e := &set.endpoints[i]
		object := set.properties.source(e.object)
		out := EndpointExplanation{
			Port: port, Address: e.addr, Slice: sliceOf(endpointSlices, object), Node: object.Node,
			ClusterTraffic: cluster(e), LocalTraffic: local(e), Weight: set.policyEndpoint(e).Weight,
		}
		if reason != "" {
			out.ClusterTraffic, out.LocalTraffic = false, false
			out.Reasons = append(out.Reasons, reason)
		}
		if !cluster(e) {
			out.Reasons = append(out.Reasons, node.reason(set, e))
		}
		x.Endpoints = append(x.Endpoints, out)
	}
}

// clusterFilter selects the endpoints for traffic of this node that may leave it.
func (n *nodeState) clusterFilter(set *endpointSet) func(*portEndpoint) bool {
	if hinted := set.nodeHintFilter(n.node.Name, set.endpoints); slices.ContainsFunc(set.endpoints, func(e portEndpoint) bool { return hinted(&e) }) {
		return hinted
	}
	return set.clusterFilter(n.zone)
}

// reason returns why clusterFilter does not select e.
func (n *nodeState) reason(set *endpointSet, e *portEndpoint) string {
	switch {
	case set.properties.isDrained(e.object):
		return "its weight is 0"
	case set.properties.order(e.addr) > 0 && (e.ready() || !set.anyReady && e.terminating()):
		return fmt.Sprintf("its order is %d, and there are endpoints with a smaller one", set.properties.order(e.addr))
	case e.ready():
		return fmt.Sprintf("its hints are for zones %v and nodes %v; this is node %q in zone %q",
			e.hints().Zones, e.hints().Nodes, n.node.Name, n.zone)
	case e.terminating():
		return "it is terminating, and others are ready"
	case e.object.Terminating:
		return "it is terminating and does not serve"
	}
	return "it is not ready"
}

// sliceOf returns the name of the EndpointSlice that contains an endpoint.
func sliceOf(endpointSlices []*watchers.EndpointSlice, e *watchers.Endpoint) string {
	for _, slice := range endpointSlices {
		for i := range slice.Endpoints {
			if &slice.Endpoints[i] == e {
				return slice.Name
			}
		}
	}
	return ""
}
