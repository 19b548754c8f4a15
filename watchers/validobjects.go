// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// valid returns s, or a copy without its invalid values and with a Problem for each.
func (s *Service) valid() *Service {
	v := newValidator(s, s.Problems)
	if field, failure := s.unnamed(); failure != "" {
		v.reportRemaining(failure+"; the Service is ignored", "%s", field)
		if v.valid() {
			return s
		}
		return &Service{Name: s.Name, ProxyName: s.ProxyName, Problems: v.all()}
	}
	serviceType, internal, external := s.Type, s.InternalPolicy, s.ExternalPolicy
	if serviceType > TypeExternalName {
		v.reject(uint8(serviceType), "is not a Service type", "treated as ClusterIP", "spec.type")
		serviceType = TypeClusterIP
	}
	v.policy(&internal, "spec.internalTrafficPolicy")
	v.policy(&external, "spec.externalTrafficPolicy")
	affinity := s.Affinity
	if failure := valid.Affinity(affinity); failure != "" {
		affinity = valid.DefaultAffinity
		v.reject(s.Affinity, failure, fmt.Sprintf("treated as %v", affinity), "spec.sessionAffinityConfig.clientIP.timeoutSeconds")
	}
	clusterIP := v.optionalAddr(s.ClusterIP, "spec.clusterIP")
	clusterIPs := filtered(s.ClusterIPs, func(i int, a netip.Addr) (netip.Addr, bool) { return v.optionalAddr(a, "spec.clusterIPs[%d]", i), true })
	families := filtered(s.IPFamilies, v.family)
	v.pairs(serviceType, clusterIP, clusterIPs, families)
	externalIPs := v.addrs(s.ExternalIPs, valid.ExternalIP, "spec.externalIPs[%d]")
	ingress := filtered(s.Ingress, func(i int, in Ingress) (Ingress, bool) {
		ip, ok := v.addr(in.IP, valid.ServiceAddr, "ignored", "status.loadBalancer.ingress[%d].ip", i)
		return Ingress{ip, in.Proxy}, ok
	})
	ranges := v.networks(s.SourceRanges, valid.Network, "spec.loadBalancerSourceRanges[%d]")
	ports, details := v.servicePorts(s.Ports, s.Details)
	extensions := v.extensions(s.Extensions, "extensions")
	// Ranges without HasSourceRanges would permit all clients.
	restricted := s.HasSourceRanges || len(s.SourceRanges) > 0
	if v.valid() && restricted == s.HasSourceRanges {
		return s
	}
	out := *s
	out.Type, out.InternalPolicy, out.ExternalPolicy, out.Affinity = serviceType, internal, external, affinity
	out.ClusterIP, out.ClusterIPs, out.IPFamilies, out.ExternalIPs = clusterIP, clusterIPs, families, externalIPs
	out.Ingress, out.SourceRanges, out.Ports, out.Problems = ingress, ranges, ports, v.all()
	out.Details, out.Extensions = details, extensions
	out.HasSourceRanges, out.HasInvalidSourceRanges = restricted, s.HasInvalidSourceRanges || len(ranges) < len(s.SourceRanges)
	return &out
}

// unnamed returns the field without which s has no name, and what is wrong with it.
func (s *Service) unnamed() (field, failure string) {
	if failure := cmp.Or(valid.Name(s.Name.Namespace), valid.Name(s.Name.Name)); failure != "" {
		return "metadata.name", failure
	}
	return "origin", valid.Origin(s.Name.Origin)
}

// servicePorts returns the valid ports, and the details with the protocols of these.
func (v *validator) servicePorts(list []ServicePort, details *ServiceDetails) ([]ServicePort, *ServiceDetails) {
	if details != nil && len(details.AppProtocols) > 0 && len(details.AppProtocols) != len(list) {
		v.reject(fmt.Sprintf("%d elements", len(details.AppProtocols)), fmt.Sprintf("for %d ports", len(list)), "ignored", "details.appProtocols")
		details = &ServiceDetails{Headless: details.Headless, ExternalName: details.ExternalName, LoadBalancerClass: details.LoadBalancerClass}
	}
	var invalid []int
	first := firstPorts(list, servicePortKey)
	ports := filtered(list, func(i int, p ServicePort) (ServicePort, bool) {
		ok := v.port(p.Name, p.Protocol, p.Port, "spec.ports", i) &&
			!v.duplicate(repeatsPort(list, first, i, servicePortKey), p.Name, p.Protocol, "spec.ports", i)
		if !ok {
			invalid = append(invalid, i)
			return p, false
		}
		if p.Selection > localsink.SelectionLeastConnections {
			v.reject(uint8(p.Selection), "is not a selection", "treated as Random", "spec.ports[%d].selection", i)
			p.Selection = localsink.SelectionRandom
		}
		if p.RefusedPerMille > maxPerMille {
			v.reject(p.RefusedPerMille, "is out of range 0-1000", "treated as 1000", "spec.ports[%d].refusedPerMille", i)
			p.RefusedPerMille = maxPerMille
		}
		return p, true
	})
	if len(invalid) > 0 && details != nil && len(details.AppProtocols) > 0 {
		aligned := *details
		aligned.AppProtocols = make([]string, 0, len(ports))
		for i, protocol := range details.AppProtocols {
			if !slices.Contains(invalid, i) {
				aligned.AppProtocols = append(aligned.AppProtocols, protocol)
			}
		}
		details = &aligned
	}
	return ports, details
}

// maxPerMille is the whole, in 1/1000.
const maxPerMille = 1000

func (v *validator) policy(p *TrafficPolicy, field string) {
	if *p > PolicyLocal {
		v.reject(uint8(*p), "is not Cluster (0) or Local (1)", "treated as Cluster", "%s", field)
		*p = PolicyCluster
	}
}

// family checks an entry of spec.ipFamilies. The result is 0 if it is invalid.
func (v *validator) family(i int, f IPFamily) (IPFamily, bool) {
	switch f {
	case FamilyIPv4, FamilyIPv6:
		return f, true
	case 0: // remains, because the lists are paired by index
		v.reportRemaining("0 is not IPv4 (4) or IPv6 (6); ignored", "spec.ipFamilies[%d]", i)
	default:
		v.reject(uint8(f), "is not IPv4 (4) or IPv6 (6)", "ignored", "spec.ipFamilies[%d]", i)
	}
	return 0, true
}

// pairs reports addresses and families that are not used, because they have no counterpart
// of the same index or repeat an earlier one. Headless Services may list more families.
// Without any families, only clusterIP is used, and determines its own.
func (v *validator) pairs(t ServiceType, clusterIP netip.Addr, ips []netip.Addr, families []IPFamily) {
	assigned := clusterIP.IsValid() || slices.ContainsFunc(ips, netip.Addr.IsValid)
	if t == TypeExternalName || !assigned {
		return
	}
	for i, ip := range ips {
		switch {
		case i >= len(families) && (len(families) > 0 || ip != clusterIP):
			v.reportRemaining(fmt.Sprintf("has no family in spec.ipFamilies[%d]; ignored", i), "spec.clusterIPs[%d]", i)
		case i < len(families) && !ip.IsValid():
			v.reportRemaining("is not an IP address; ignored", "spec.clusterIPs[%d]", i)
		}
	}
	for i, f := range families {
		switch {
		case i >= len(ips):
			v.reportRemaining(fmt.Sprintf("has no address in spec.clusterIPs[%d]; ignored", i), "spec.ipFamilies[%d]", i)
		case slices.Contains(families[:i], f) && f != 0:
			v.reportRemaining(fmt.Sprintf("%d is repeated; ignored", f), "spec.ipFamilies[%d]", i)
		}
	}
}

// valid returns s, or a copy without its invalid values and with a Problem for each.
func (s *EndpointSlice) valid() *EndpointSlice {
	v := newValidator(s, s.Problems)
	if field, failure := s.unnamed(); failure != "" {
		v.reportRemaining(failure+"; the slice is ignored", "%s", field)
		if v.valid() {
			return s
		}
		return &EndpointSlice{Namespace: s.Namespace, Name: s.Name, Service: s.Service, Problems: v.all(), TriggerTime: s.TriggerTime}
	}
	service, family, ports, endpoints, details := s.Service, s.Family, s.Ports, s.Endpoints, s.Details
	if len(details) > 0 && len(details) != len(endpoints) {
		v.reject(fmt.Sprintf("%d elements", len(details)), fmt.Sprintf("for %d endpoints", len(endpoints)), "ignored", "details")
		details = nil
	}
	if service.Namespace != s.Namespace {
		v.reject(fmt.Sprintf("%q", service.Namespace), "is not the namespace of the slice", "treated as "+s.Namespace, "metadata.labels")
		service.Namespace = s.Namespace
	}
	if family != FamilyIPv4 && family != FamilyIPv6 {
		v.reportRemaining(fmt.Sprintf("%d is not IPv4 (4) or IPv6 (6); the slice is ignored", family), "addressType")
		v.changed = v.changed || family != 0 || len(ports)+len(endpoints) > 0
		family, ports, endpoints, details = 0, nil, nil, nil
	}
	first, all := firstPorts(ports, endpointPortKey), ports
	ports = filtered(ports, func(i int, p EndpointPort) (EndpointPort, bool) {
		return p, v.port(p.Name, p.Protocol, p.Port, "ports", i) &&
			!v.duplicate(repeatsPort(all, first, i, endpointPortKey), p.Name, p.Protocol, "ports", i)
	})
	extensions := v.extensions(s.Extensions, "extensions")
	endpoints, details = v.endpoints(endpoints, details, family)
	if len(s.Ports) == 0 && len(endpoints) > 0 {
		v.reportRemaining("is empty; the endpoints of the slice receive no traffic", "ports")
	}
	if v.valid() {
		return s
	}
	out := *s
	out.Service, out.Family, out.Ports, out.Endpoints, out.Problems = service, family, ports, endpoints, v.all()
	out.Details, out.Extensions = details, extensions
	return &out
}

// unnamed returns the field without which s belongs to no Service, and what is wrong with it.
func (s *EndpointSlice) unnamed() (field, failure string) {
	if failure := cmp.Or(valid.Name(s.Namespace), valid.Name(s.Name)); failure != "" {
		return "metadata.name", failure
	}
	if failure := valid.Name(s.Service.Name); failure != "" {
		return "metadata.labels[kubernetes.io/service-name]", failure
	}
	return "origin", valid.Origin(s.Service.Origin)
}

// endpoints returns the endpoints whose address is valid, and their details; the lists
// themselves if all values are valid.
func (v *validator) endpoints(list []Endpoint, details []EndpointDetails, family IPFamily) ([]Endpoint, []EndpointDetails) {
	check := func(a netip.Addr) string { return valid.Endpoint(a, int(family)) }
	details = v.endpointExtensions(details)
	var out []Endpoint
	var kept []int // the elements of list in out
	for i := range list {
		if valid.Endpoint(list[i].Addr, int(family)) == "" {
			if out != nil {
				out, kept = append(out, list[i]), append(kept, i)
			}
			continue
		}
		if out == nil {
			out, kept = append(make([]Endpoint, 0, len(list)), list[:i]...), make([]int, i, len(list))
			for j := range kept {
				kept[j] = j
			}
		}
		if a, ok := v.addr(list[i].Addr, check, "the endpoint is ignored", "endpoints[%d].addresses[0]", i); ok {
			e := list[i]
			e.Addr = a
			out, kept = append(out, e), append(kept, i)
		}
	}
	if out == nil {
		return list, details
	}
	if len(details) == 0 || len(out) == 0 {
		return out, nil
	}
	aligned := make([]EndpointDetails, len(out))
	for i, k := range kept {
		aligned[i] = details[k]
	}
	return out, aligned
}

// endpointExtensions returns details with valid extensions; details itself if all are valid.
func (v *validator) endpointExtensions(details []EndpointDetails) []EndpointDetails {
	copied := false
	for i := range details {
		x := details[i].Extensions
		if x.Len() == 0 {
			continue
		}
		if kept := v.extensions(x, "endpoints[%d].extensions", i); kept != x {
			if !copied {
				copied, details = true, slices.Clone(details)
			}
			details[i].Extensions = kept
		}
	}
	return details
}

// valid returns n, or a copy without its invalid values and with a Problem for each.
func (n *Node) valid() *Node {
	v := newValidator(n, n.Problems)
	if failure := valid.Name(n.Name); failure != "" {
		v.reportRemaining(failure+"; the Node is ignored", "metadata.name")
	}
	ips := v.addrs(n.IPs, valid.NodeAddr, "status.addresses[%d].address")
	podCIDRs := v.networks(n.PodCIDRs, valid.Network, "spec.podCIDRs[%d]")
	extensions := v.extensions(n.Extensions, "extensions")
	if v.valid() {
		return n
	}
	out := *n
	out.IPs, out.PodCIDRs, out.Extensions, out.Problems = ips, podCIDRs, extensions, v.all()
	return &out
}

// valid returns c, or a copy without its invalid values and with a Problem for each.
func (c *ServiceCIDR) valid() *ServiceCIDR {
	v := newValidator(c, c.Problems)
	if failure := valid.Name(c.Name); failure != "" {
		v.reportRemaining(failure+"; the ServiceCIDR is not passed on", "metadata.name")
	}
	networks := v.networks(c.Networks, valid.ServiceNetwork, "spec.cidrs[%d]")
	if v.valid() {
		return c
	}
	out := *c
	out.Networks, out.Problems = networks, v.all()
	return &out
}
