// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// An endpoint is an entry of an EndpointSlice, for one port.
type endpoint struct {
	addr                        netip.AddrPort
	node                        string
	ready, serving, terminating bool
	zones                       []string // topology hints
}

// endpointsOf returns the endpoints of a port of a Service in one family. Of several entries with one
// address and port, the one that serves best counts.
func (c *Cluster) endpointsOf(s *corev1.Service, port *corev1.ServicePort, is4 bool) (all []endpoint) {
	best := map[netip.AddrPort]endpoint{}
	for i := range c.Slices {
		slice := &c.Slices[i]
		if slice.Namespace != s.Namespace || slice.Labels[discoveryv1.LabelServiceName] != s.Name || slice.AddressType != family(is4) {
			continue
		}
		for j := range slice.Ports {
			p := &slice.Ports[j]
			if p.Port == nil || deref(p.Name, "") != port.Name || deref(p.Protocol, corev1.ProtocolTCP) != protocolOf(port) {
				continue
			}
			for k := range slice.Endpoints {
				e, valid := newEndpoint(&slice.Endpoints[k], *p.Port)
				if old, found := best[e.addr]; valid && (!found || e.isBetter(old)) {
					best[e.addr] = e
				}
			}
		}
	}
	for _, e := range best {
		all = append(all, e)
	}
	return all
}

func newEndpoint(e *discoveryv1.Endpoint, port int32) (endpoint, bool) {
	if len(e.Addresses) == 0 {
		return endpoint{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	if err != nil || addr.IsUnspecified() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsLinkLocalMulticast() {
		return endpoint{}, false
	}
	out := endpoint{addr: netip.AddrPortFrom(addr, uint16(port)), node: deref(e.NodeName, "")}
	out.ready = deref(e.Conditions.Ready, true)
	out.serving = deref(e.Conditions.Serving, out.ready)
	out.terminating = deref(e.Conditions.Terminating, false)
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			out.zones = append(out.zones, z.Name)
		}
	}
	return out, true
}

// isBetter reports whether the entry e counts rather than o, which has the same address and port.
func (e endpoint) isBetter(o endpoint) bool {
	for _, pair := range [][2]bool{
		{!e.terminating, !o.terminating}, {e.ready, o.ready}, {e.serving, o.serving}, {e.node != "", o.node != ""},
	} {
		if pair[0] != pair[1] {
			return pair[0]
		}
	}
	return e.node < o.node
}

// preferReady returns the ready endpoints; if there are none, those that serve while they terminate.
func preferReady(all []endpoint) []endpoint {
	if ready := filter(all, func(e endpoint) bool { return e.ready }); len(ready) > 0 {
		return ready
	}
	return filter(all, func(e endpoint) bool { return e.serving && e.terminating })
}

// inZone applies topology hints: they count if each ready endpoint has one, and one is for the zone.
func inZone(usable []endpoint, zone string) []endpoint {
	hinted := filter(usable, func(e endpoint) bool { return e.ready && slices.Contains(e.zones, zone) })
	all := !slices.ContainsFunc(usable, func(e endpoint) bool { return len(e.zones) == 0 })
	if zone == "" || !all || len(hinted) == 0 {
		return usable
	}
	return hinted
}

func filter(all []endpoint, keep func(endpoint) bool) (out []endpoint) {
	for _, e := range all {
		if keep(e) {
			out = append(out, e)
		}
	}
	return out
}

func family(is4 bool) discoveryv1.AddressType {
	if is4 {
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

func protocolOf(p *corev1.ServicePort) corev1.Protocol {
	if p.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return p.Protocol
}

// portOf returns the destination of a port at an address.
func portOf(a netip.Addr, port int32, p *corev1.ServicePort) destination {
	return destination{netip.AddrPortFrom(a, uint16(port)), string(protocolOf(p))}
}

func deref[T any](p *T, value T) T {
	if p == nil {
		return value
	}
	return *p
}
