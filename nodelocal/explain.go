// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sigs.k8s.io/kpng/watchers"
)

// An Explanation says what a node does for one Service, and why, endpoint by endpoint.
// It is for people and has tags for JSON; programs read a localsink.Service.
type Explanation struct {
	// Service is what is wanted of the node as [localsink.Base.Text] writes it,
	// before other Services that claim the same addresses are heard.
	Service   string                `json:"service"`
	Endpoints []EndpointExplanation `json:"endpoints"`
	// Unmatched names slices that have no port for one of the Service's ports.
	Unmatched []string `json:"unmatched,omitempty"`
}

// An EndpointExplanation says what becomes of one endpoint for one port.
type EndpointExplanation struct {
	Port    string         `json:"port"`
	Address netip.AddrPort `json:"address"`
	Slice   string         `json:"slice"`
	Node    string         `json:"node,omitempty"`
	// ClusterTraffic says that traffic which may leave the node goes there, Here that
	// traffic which may not does.
	ClusterTraffic bool `json:"anywhere"`
	LocalTraffic   bool `json:"here"`
	// Reasons lists the reasons for what it does not serve.
	Reasons []string `json:"why,omitempty"`
}

// Text returns the explanation for people.
func (x *Explanation) Text() string {
	var b strings.Builder
	b.WriteString(x.Service)
	for _, e := range x.Endpoints {
		use := "not used"
		switch {
		case e.ClusterTraffic && e.LocalTraffic:
			use = "used, also by traffic that must stay on this node"
		case e.ClusterTraffic:
			use = "used"
		case e.LocalTraffic:
			use = "used only by traffic that must stay on this node"
		}
		fmt.Fprintf(&b, "  endpoint %s for port %q (slice %s, node %q): %s", e.Address, e.Port, e.Slice, e.Node, use)
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

// Explain says what the node of cfg does for a Service, as facts have it; nil when
// there is no such Service. The error is about cfg.
func Explain(facts watchers.Snapshot, cfg Config, name watchers.ServiceName) (*Explanation, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	svc := facts.Service(name)
	if svc == nil || !svc.IsFor(cfg.ProxyName) {
		return nil, nil
	}
	v, list := cfg.view(facts), slices.Collect(facts.EndpointSlices(name))
	x := &Explanation{Service: v.compute(svc, list).Text()}
	if len(list) == 0 {
		x.Unmatched = append(x.Unmatched, "there is no EndpointSlice for it")
	}
	for i := range svc.Ports {
		for _, slice := range list {
			x.unmatched(slice, &svc.Ports[i])
		}
		for _, family := range []watchers.IPFamily{watchers.IPv4, watchers.IPv6} {
			x.explain(v, svc, list, family, &svc.Ports[i])
		}
	}
	return x, nil
}

func (x *Explanation) unmatched(slice *watchers.EndpointSlice, port *watchers.ServicePort) {
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

// explain adds the endpoints that one port has in a family.
func (x *Explanation) explain(v *view, svc *watchers.Service, list []*watchers.EndpointSlice, family watchers.IPFamily, port *watchers.ServicePort) {
	r := newReach(candidates(list, family, port))
	anywhere, here := v.anywhere(&r), localOf(v.node.Name, r.all)
	for i := range r.all {
		e := &r.all[i]
		out := EndpointExplanation{
			Port: port.Name, Address: e.addr, Slice: sliceOf(list, e.endpoint), Node: e.endpoint.Node,
			ClusterTraffic: anywhere(e), LocalTraffic: here(e),
		}
		if !clusterIP(svc, family).IsValid() {
			out.ClusterTraffic, out.LocalTraffic = false, false
			out.Reasons = append(out.Reasons, fmt.Sprintf("the Service has no IPv%d cluster IP", family))
		}
		if !anywhere(e) {
			out.Reasons = append(out.Reasons, v.why(e)...)
		}
		x.Endpoints = append(x.Endpoints, out)
	}
}

// anywhere says which endpoints serve traffic of this node that may leave it.
func (v *view) anywhere(r *reach) func(*candidate) bool {
	if near := r.near(v.node.Name); slices.ContainsFunc(r.all, func(e candidate) bool { return near(&e) }) {
		return near
	}
	return r.cluster(v.zone)
}

// why says what keeps an endpoint from serving traffic that may go anywhere.
func (v *view) why(e *candidate) []string {
	switch {
	case e.ready():
		return []string{fmt.Sprintf("its hints are for zones %v and nodes %v; this is node %q in zone %q",
			hints(e).Zones, hints(e).Nodes, v.node.Name, v.zone)}
	case e.draining():
		return []string{"it is terminating, and others are ready"}
	case e.endpoint.Terminating:
		return []string{"it is terminating and does not serve"}
	}
	return []string{"it is not ready"}
}

// sliceOf returns the name of the slice that an endpoint is in.
func sliceOf(list []*watchers.EndpointSlice, e *watchers.Endpoint) string {
	for _, slice := range list {
		for i := range slice.Endpoints {
			if &slice.Endpoints[i] == e {
				return slice.Name
			}
		}
	}
	return ""
}
