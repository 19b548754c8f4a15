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
)

// EndpointSlice makes the fact of an EndpointSlice. The error is [InvalidObjectError] and says
// that the slice does not tell which Service it belongs to, or has no name of its
// own. A slice of host names, or of an unknown type of address, has Family 0, no
// endpoints and a Problem.
func EndpointSlice(s *discoveryv1.EndpointSlice) (*watchers.EndpointSlice, error) {
	service := s.Labels[discoveryv1.LabelServiceName]
	r := &reader{object: "EndpointSlice " + s.Namespace + "/" + s.Name}
	switch {
	case s.Namespace == "" || s.Name == "":
		return nil, &InvalidObjectError{watchers.Problem{Object: r.object, Field: "metadata", Message: "namespace or name is missing; the slice is ignored"}}
	case service == "":
		return nil, &InvalidObjectError{watchers.Problem{Object: r.object, Field: "metadata.labels", Message: discoveryv1.LabelServiceName + " is missing; the slice is ignored"}}
	}
	out := &watchers.EndpointSlice{
		Namespace:   intern(s.Namespace),
		Name:        s.Name,
		Service:     watchers.ServiceName{Namespace: intern(s.Namespace), Name: intern(service)},
		Family:      r.addressType(s.AddressType),
		TriggerTime: triggered(s.Annotations[corev1.EndpointsLastChangeTriggerTime]),
	}
	if out.Family != 0 {
		out.Ports = r.endpointPorts(s.Ports)
		out.Endpoints = r.endpoints(s.Endpoints, out.Family)
		if len(s.Ports) == 0 && len(out.Endpoints) > 0 {
			r.missing("is empty; the endpoints of the slice get no connections", "ports")
		}
	}
	out.Problems = r.problems
	return out, nil
}

func (r *reader) addressType(t discoveryv1.AddressType) watchers.IPFamily {
	switch t {
	case discoveryv1.AddressTypeIPv4:
		return watchers.IPv4
	case discoveryv1.AddressTypeIPv6:
		return watchers.IPv6
	}
	r.problem(string(t), "is not a type of IP addresses", "the slice is ignored", "addressType")
	return 0
}

// triggered reads the time that the annotation holds. It is no content of the slice,
// so nothing is said about a wrong one.
func triggered(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}
	}
	return t
}

// endpointPorts reads the ports that can be matched with a Service's: those with a
// name, even an empty one, and a number.
func (r *reader) endpointPorts(list []discoveryv1.EndpointPort) []watchers.EndpointPort {
	var out []watchers.EndpointPort
	for i := range list {
		p := &list[i]
		if p.Name == nil {
			r.missing("is missing; "+skipped, "ports[%d].name", i)
			continue
		}
		protocol, known := r.protocol(deref(p.Protocol, ""), "ports[%d].protocol", i)
		number, valid := r.port(deref(p.Port, 0), "ports[%d].port", i)
		if !known || !valid {
			continue
		}
		out = appendOnce(out, watchers.EndpointPort{Name: intern(*p.Name), Protocol: protocol, Port: number}, len(list)-i)
	}
	return out
}

func (r *reader) endpoints(list []discoveryv1.Endpoint, family watchers.IPFamily) []watchers.Endpoint {
	var out []watchers.Endpoint
	var hints hintSharer
	for i := range list {
		e := &list[i]
		addr, ok := r.endpointAddr(e.Addresses, family, i)
		if !ok {
			continue
		}
		out = appendOnce(out, watchers.Endpoint{
			Addr:        addr,
			Node:        intern(deref(e.NodeName, "")),
			Ready:       deref(e.Conditions.Ready, true),
			Serving:     deref(e.Conditions.Serving, true),
			Terminating: deref(e.Conditions.Terminating, false),
			Hints:       hints.of(e.Hints),
		}, len(list)-i)
	}
	return out
}

// endpointAddr reads the first address of an endpoint: the others mean the same
// endpoint, and nobody uses them. An address that does not lead to one endpoint is
// refused: traffic from outside must not get to loopback addresses.
func (r *reader) endpointAddr(list []string, family watchers.IPFamily, index int) (netip.Addr, bool) {
	const ignored = "the endpoint is ignored"
	if len(list) == 0 {
		r.missing("is empty; "+ignored, "endpoints[%d].addresses", index)
		return netip.Addr{}, false
	}
	addr, ok := ParseAddr(list[0])
	wrong := ""
	switch {
	case !ok || watchers.FamilyOf(addr) != family:
		wrong = fmt.Sprintf("is not an IPv%d address", family)
	case addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast():
		wrong = "cannot be an address of an endpoint"
	default:
		return addr, true
	}
	r.problem(list[0], wrong, ignored, "endpoints[%d].addresses[0]", index)
	return netip.Addr{}, false
}

// A hintSharer makes the hints of one slice's endpoints; equal ones are made once.
type hintSharer struct {
	made map[string]*watchers.Hints
	key  []byte
}

func (h *hintSharer) of(hints *discoveryv1.EndpointHints) *watchers.Hints {
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
	if same, ok := h.made[string(h.key)]; ok {
		return same
	}
	if h.made == nil {
		h.made = map[string]*watchers.Hints{}
	}
	out := &watchers.Hints{}
	for i, z := range hints.ForZones {
		out.Zones = appendOnce(out.Zones, intern(z.Name), len(hints.ForZones)-i)
	}
	for i, n := range hints.ForNodes {
		out.Nodes = appendOnce(out.Nodes, intern(n.Name), len(hints.ForNodes)-i)
	}
	h.made[string(h.key)] = out
	return out
}
