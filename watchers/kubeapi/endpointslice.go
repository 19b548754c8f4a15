// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// EndpointSlice converts an EndpointSlice. The error is an [*InvalidObjectError]: the
// slice has no namespace, no name, or no label with the name of its Service. A slice
// whose addressType is neither IPv4 nor IPv6 is converted to one with Family 0, no
// endpoints and a Problem. The result has neither extensions nor details; see [Converter].
func EndpointSlice(s *discoveryv1.EndpointSlice) (*watchers.EndpointSlice, error) {
	return convertEndpointSlice(s, 0)
}

func convertEndpointSlice(s *discoveryv1.EndpointSlice, details Details) (*watchers.EndpointSlice, error) {
	service := s.Labels[discoveryv1.LabelServiceName]
	p := &fieldParser{object: "EndpointSlice " + s.Namespace + "/" + s.Name}
	switch {
	case s.Namespace == "" || s.Name == "":
		return nil, &InvalidObjectError{watchers.Problem{Object: p.object, Field: "metadata",
			Message: "namespace or name is missing; the slice is ignored"}}
	case service == "":
		return nil, &InvalidObjectError{watchers.Problem{Object: p.object, Field: "metadata.labels",
			Message: discoveryv1.LabelServiceName + " is missing; the slice is ignored"}}
	}
	out := &watchers.EndpointSlice{
		Namespace:   intern(s.Namespace),
		Name:        s.Name,
		Service:     watchers.ServiceName{Namespace: intern(s.Namespace), Name: service},
		Family:      p.addressType(s.AddressType),
		TriggerTime: parseTriggerTime(s.Annotations[corev1.EndpointsLastChangeTriggerTime]),
	}
	if out.Family != 0 {
		out.Ports = p.endpointPorts(s.Ports)
		out.Endpoints, out.Details = p.endpoints(s.Endpoints, out.Family, details&(DetailHostname|DetailZone|DetailTarget))
	}
	out.Problems = p.problems
	return out, nil
}

func (p *fieldParser) addressType(t discoveryv1.AddressType) watchers.IPFamily {
	switch t {
	case discoveryv1.AddressTypeIPv4:
		return watchers.FamilyIPv4
	case discoveryv1.AddressTypeIPv6:
		return watchers.FamilyIPv6
	}
	p.invalid(string(t), "is not IPv4 or IPv6", "the slice is ignored", "addressType")
	return 0
}

// parseTriggerTime parses the value of the trigger time annotation. Only latency
// metrics use it, so an invalid value gives the zero time and no Problem.
func parseTriggerTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// endpointPorts parses the ports that a Service port can refer to: those with a
// number and a name, which may be empty but not nil.
func (p *fieldParser) endpointPorts(list []discoveryv1.EndpointPort) []watchers.EndpointPort {
	var out []watchers.EndpointPort
	for i := range list {
		port := &list[i]
		if port.Name == nil {
			p.add("is missing; "+portIgnored, "ports[%d].name", i)
			continue
		}
		protocol, known := p.protocol(deref(port.Protocol, ""), "ports[%d].protocol", i)
		number, valid := p.port(deref(port.Port, 0), "ports[%d].port", i)
		if !known || !valid {
			continue
		}
		out = appendWithRoom(out, watchers.EndpointPort{Name: intern(*port.Name), Protocol: protocol, Port: number}, len(list)-i)
	}
	return out
}

// endpoints parses the valid endpoints and those of their properties that are in selected.
// There are no details if no endpoint has any.
func (p *fieldParser) endpoints(
	list []discoveryv1.Endpoint, family watchers.IPFamily, selected Details,
) (out []watchers.Endpoint, details []watchers.EndpointDetails) {
	var hints hintCache
	for i := range list {
		e := &list[i]
		addr, ok := p.endpointAddr(e.Addresses, family, i)
		if !ok {
			continue
		}
		if selected != 0 {
			details = appendAligned(details, selected.ofEndpoint(e), len(out), len(list)-i)
		}
		out = appendWithRoom(out, watchers.Endpoint{
			Addr:        addr,
			Node:        intern(deref(e.NodeName, "")),
			Ready:       deref(e.Conditions.Ready, true),
			Serving:     deref(e.Conditions.Serving, true),
			Terminating: deref(e.Conditions.Terminating, false),
			Hints:       hints.get(e.Hints),
		}, len(list)-i)
	}
	return out, details
}

// endpointAddr parses the first address of an endpoint. The API defines further
// addresses as equivalent, and proxies ignore them.
func (p *fieldParser) endpointAddr(list []string, family watchers.IPFamily, index int) (netip.Addr, bool) {
	const endpointIgnored = "the endpoint is ignored"
	if len(list) == 0 {
		p.add("is empty; "+endpointIgnored, "endpoints[%d].addresses", index)
		return netip.Addr{}, false
	}
	addr, ok := ParseAddr(list[0])
	failure := valid.Endpoint(addr, int(family))
	if !ok {
		failure = fmt.Sprintf("is not an IPv%d address", family)
	}
	if failure != "" {
		p.invalid(list[0], failure, endpointIgnored, "endpoints[%d].addresses[0]", index)
		return netip.Addr{}, false
	}
	return addr, true
}

// A hintCache converts the topology hints of one slice. Endpoints with equal hints get
// the same pointer.
type hintCache struct {
	hints map[string]*watchers.Hints // by key
	key   []byte                     // scratch space
}

func (h *hintCache) get(hints *discoveryv1.EndpointHints) *watchers.Hints {
	if hints == nil || len(hints.ForZones) == 0 && len(hints.ForNodes) == 0 {
		return nil
	}
	h.key = h.key[:0]
	for _, z := range hints.ForZones {
		h.key = append(append(h.key, z.Name...), 'z', 0)
	}
	for _, n := range hints.ForNodes {
		h.key = append(append(h.key, n.Name...), 'n', 0)
	}
	if cached, ok := h.hints[string(h.key)]; ok {
		return cached
	}
	if h.hints == nil {
		h.hints = map[string]*watchers.Hints{}
	}
	out := &watchers.Hints{}
	for i, z := range hints.ForZones {
		out.Zones = appendWithRoom(out.Zones, intern(z.Name), len(hints.ForZones)-i)
	}
	for i, n := range hints.ForNodes {
		out.Nodes = appendWithRoom(out.Nodes, intern(n.Name), len(hints.ForNodes)-i)
	}
	h.hints[string(h.key)] = out
	return out
}
