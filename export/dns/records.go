// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

var errNoAddress = errors.New("not an address")

const (
	// The priority and weight of all SRV records: the endpoints of a Service are equal.
	srvPriority = 0
	srvWeight   = 100
)

// addresses answers with those addresses that the question requests.
func (a *answer) addresses(addrs []netip.Addr) {
	for _, addr := range addrs {
		if addr.Is4() && a.has(dnsmessage.TypeA) || addr.Is6() && a.has(dnsmessage.TypeAAAA) {
			a.writer.address(sectionAnswer, ownerOfQuestion, addr)
		}
	}
}

func isExternalName(s *watchers.Service) bool { return s.Type == watchers.TypeExternalName }

// externalName answers a name of a Service with an external name, relative to it. The client
// resolves the target, which is not in the zone.
func (a *answer) externalName(s *watchers.Service, rest string) {
	if rest != "" {
		a.nxdomain()
		return
	}
	target := ""
	if s.Details != nil {
		target = strings.ToLower(strings.TrimSuffix(s.Details.ExternalName, "."))
	}
	if validName(target) {
		a.writer.record(dnsmessage.TypeCNAME, func(b []byte) []byte { return appendName(b, target, []byte{0}) })
	}
}

// clusterIPs returns the cluster IPs of a Service.
func clusterIPs(s *watchers.Service) []netip.Addr {
	if len(s.ClusterIPs) == 0 {
		return []netip.Addr{s.ClusterIP}
	}
	return s.ClusterIPs
}

// clusterIP answers a name of a Service with cluster IPs, relative to it.
func (a *answer) clusterIP(s *watchers.Service, rest string) {
	if rest == "" {
		a.addresses(clusterIPs(s))
		if a.has(dnsmessage.TypeSRV) {
			for i := range s.Ports {
				a.srvOfService(s, s.Ports[i].Port)
			}
			a.additional(clusterIPs(s))
		}
		return
	}
	b, ok := parseBelow(rest)
	exists := false
	if ok && b.isProtocol {
		for i := range s.Ports {
			p := &s.Ports[i]
			if p.Name == "" || p.Protocol != b.protocol || b.port != "" && p.Name != b.port {
				continue
			}
			exists = true
			if b.port != "" && a.has(dnsmessage.TypeSRV) {
				a.srvOfService(s, p.Port)
				a.additional(clusterIPs(s))
			}
		}
	}
	if !exists {
		a.nxdomain()
	}
}

// srvOfService adds an SRV record whose target is the name of a Service.
func (a *answer) srvOfService(s *watchers.Service, port uint16) {
	a.writer.record(dnsmessage.TypeSRV, func(b []byte) []byte {
		return a.appendService(appendSRV(b, port), s.Name)
	})
}

func appendSRV(b []byte, port uint16) []byte {
	b = binary.BigEndian.AppendUint16(b, srvPriority)
	b = binary.BigEndian.AppendUint16(b, srvWeight)
	return binary.BigEndian.AppendUint16(b, port)
}

// appendService appends the name of a Service.
func (a *answer) appendService(b []byte, name localsink.ServiceName) []byte {
	b = appendName(b, name.Name, nil)
	b = appendName(b, name.Namespace, nil)
	return append(b, a.server.serviceDomain...)
}

// additional adds the addresses of the target of the last SRV record.
func (a *answer) additional(addrs []netip.Addr) {
	w := a.writer
	if w.counts[sectionAnswer] == 0 || w.truncated {
		return
	}
	target := w.lastTarget
	if target > maxPointer {
		return
	}
	for _, addr := range addrs {
		if addr.IsValid() {
			w.address(sectionAdditional, 0xc000|uint16(target), addr)
		}
	}
}

// An endpoint is a ready endpoint of a headless Service.
type endpoint struct {
	host string // "" stands for the address with dashes
	addr netip.Addr
	port uint16 // of an SRV record
}

func (e *endpoint) label() string {
	if e.host != "" {
		return e.host
	}
	return dashed(e.addr)
}

func (e *endpoint) compare(o *endpoint) int {
	return cmp.Or(strings.Compare(e.host, o.host), e.addr.Compare(o.addr), cmp.Compare(e.port, o.port))
}

// headless answers a name of a headless Service, relative to it.
func (a *answer) headless(s *watchers.Service, rest string) {
	b, ok := below{}, true
	if rest != "" {
		b, ok = parseBelow(rest)
	}
	if !ok {
		a.nxdomain()
		return
	}
	found := a.endpoints(s, &b, a.has(dnsmessage.TypeSRV) || b.isProtocol)
	if len(found) == 0 { // the specification requires it also for the name of the Service
		a.nxdomain()
		return
	}
	// A client that uses the first record, or a truncated list, uses all endpoints alike.
	first := rand.IntN(len(found))
	found = slices.Concat(found[first:], found[:first])
	if !b.isProtocol {
		a.endpointAddresses(found)
	}
	if a.has(dnsmessage.TypeSRV) && b.host == "" && (!b.isProtocol || b.port != "") {
		a.endpointSRV(s, found)
	}
}

// endpoints returns the ready endpoints of a Service that a name selects, sorted, once each. With ports
// it returns them for each port.
func (a *answer) endpoints(s *watchers.Service, b *below, ports bool) (found []endpoint) {
	hostAddr := netip.Addr{}
	if b.host != "" {
		hostAddr, _ = parseDashed(b.host)
	}
	for slice := range a.cluster.EndpointSlices(s.Name) {
		for i := range slice.Endpoints {
			e := endpoint{addr: slice.Endpoints[i].Addr}
			if !slice.Endpoints[i].Ready {
				continue
			}
			if i < len(slice.Details) {
				e.host = slice.Details[i].Hostname
			}
			if b.host != "" && b.host != e.host && (e.host != "" || e.addr != hostAddr) {
				continue
			}
			if !ports || b.host != "" {
				found = append(found, e)
				continue
			}
			found = appendPorts(found, e, slice, b)
		}
	}
	slices.SortFunc(found, func(x, y endpoint) int { return x.compare(&y) })
	return slices.Compact(found)
}

// appendPorts appends an endpoint for each port of its slice that a name selects. Without any port in
// the slice, it is appended without one.
func appendPorts(found []endpoint, e endpoint, slice *watchers.EndpointSlice, b *below) []endpoint {
	if len(slice.Ports) == 0 && !b.isProtocol {
		return append(found, e)
	}
	for _, p := range slice.Ports {
		if b.isProtocol && (p.Name == "" || p.Protocol != b.protocol || b.port != "" && p.Name != b.port) {
			continue
		}
		e.port = p.Port
		found = append(found, e)
	}
	return found
}

// endpointAddresses answers with the addresses of endpoints, once each.
func (a *answer) endpointAddresses(found []endpoint) {
	var seen map[netip.Addr]struct{}
	if !slices.ContainsFunc(found, func(e endpoint) bool { return e.port != 0 || e.host != "" }) {
		for i := range found { // sorted by address before the rotation: no duplicates
			a.addresses([]netip.Addr{found[i].addr})
		}
		return
	}
	seen = make(map[netip.Addr]struct{}, len(found))
	for i := range found {
		if _, again := seen[found[i].addr]; !again {
			seen[found[i].addr] = struct{}{}
			a.addresses([]netip.Addr{found[i].addr})
		}
	}
}

// endpointSRV answers with an SRV record for each host and port, and adds their addresses.
func (a *answer) endpointSRV(s *watchers.Service, found []endpoint) {
	type target struct {
		host string
		port uint16
	}
	seen := make(map[target]struct{}, len(found))
	hosts := make(map[string]int, len(found)) // to the place of the name
	for i := range found {
		t := target{found[i].label(), found[i].port}
		if _, again := seen[t]; again || t.port == 0 {
			continue
		}
		seen[t] = struct{}{}
		a.writer.record(dnsmessage.TypeSRV, func(b []byte) []byte {
			return a.appendService(appendName(appendSRV(b, t.port), t.host, nil), s.Name)
		})
		hosts[t.host] = a.writer.lastTarget
	}
	added := map[netip.Addr]struct{}{}
	for i := range found {
		place, ok := hosts[found[i].label()]
		if _, again := added[found[i].addr]; ok && !again && place <= maxPointer && !a.writer.truncated {
			added[found[i].addr] = struct{}{}
			a.writer.address(sectionAdditional, 0xc000|uint16(place), found[i].addr)
		}
	}
}
