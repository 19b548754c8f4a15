// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// A serviceFamily holds the addresses of a Service in one address family. A Service has a
// family when it has a cluster IP of it; without one its other addresses of that family are
// ignored.
type serviceFamily struct {
	version       watchers.IPFamily
	clusterIP     netip.Addr // the zero Addr if the Service does not have the family
	loadBalancers []netip.Addr
	externalIPs   []netip.Addr
	// sourceRanges are the clients that load balancer addresses permit; nil permits all.
	sourceRanges []netip.Prefix
	// nodeSourceRanges are permitted as well on nodes within sourceRanges.
	nodeSourceRanges []netip.Prefix

	internalLocal, externalLocal, masqueradeAll bool

	problems []localsink.Problem
}

// usesLocal reports whether some traffic must stay on the node.
func (f *serviceFamily) usesLocal() bool { return f.internalLocal || f.externalLocal }

// newServiceFamilies returns both families of a Service. One that is not served has no cluster
// IP.
func newServiceFamilies(svc *watchers.Service, options resolveOptions) (families [2]serviceFamily) {
	for i, version := range [...]watchers.IPFamily{watchers.FamilyIPv4, watchers.FamilyIPv6} {
		if options.omitted.family(version) {
			families[i].version = version
		} else {
			families[i] = newServiceFamily(svc, version, options.masqueradeAll)
		}
	}
	return families
}

func newServiceFamily(svc *watchers.Service, version watchers.IPFamily, masqueradeAll bool) serviceFamily {
	f := serviceFamily{
		version:       version,
		clusterIP:     svc.ClusterIPOf(version),
		internalLocal: svc.InternalPolicy == watchers.PolicyLocal,
		externalLocal: externalLocal(svc),
		masqueradeAll: masqueradeAll,
	}
	if !f.clusterIP.IsValid() {
		f.reportIgnored(svc)
		return f
	}
	for _, in := range svc.Ingress {
		if !in.Proxy && watchers.FamilyOf(in.IP) == version {
			f.loadBalancers = append(f.loadBalancers, in.IP)
		}
	}
	for _, ip := range svc.ExternalIPs {
		if watchers.FamilyOf(ip) == version {
			f.externalIPs = append(f.externalIPs, ip)
		}
	}
	f.sourceRanges = sourceRanges(svc, version)
	if len(f.sourceRanges) > 0 {
		// A connection from a permitted node to a load balancer address that is bound on
		// that node has the address as its source.
		for _, ip := range f.loadBalancers {
			f.nodeSourceRanges = append(f.nodeSourceRanges, netip.PrefixFrom(ip, ip.BitLen()))
		}
	}
	return f
}

// reportIgnored adds a problem for each address of a family that the Service does not have.
func (f *serviceFamily) reportIgnored(svc *watchers.Service) {
	i := slices.Index(svc.IPFamilies, f.version)
	if i >= 0 && i < len(svc.ClusterIPs) && svc.ClusterIPs[i].IsValid() && len(f.problems) == 0 {
		f.problems = append(f.problems, problem(svc.Name, fmt.Sprintf("spec.clusterIPs[%d]", i),
			"%s is not an IPv%d address, which spec.ipFamilies[%d] requires; ignored", svc.ClusterIPs[i], f.version, i))
	}
	for _, ip := range svc.ExternalIPs {
		f.reportWithoutClusterIP(svc, ip, externalIPsField)
	}
	for _, in := range svc.Ingress {
		if !in.Proxy {
			f.reportWithoutClusterIP(svc, in.IP, ingressField)
		}
	}
}

func (f *serviceFamily) reportWithoutClusterIP(svc *watchers.Service, ip netip.Addr, field string) {
	if watchers.FamilyOf(ip) == f.version {
		f.problems = append(f.problems, problem(svc.Name, field,
			"%s requires an IPv%d cluster IP, which the Service does not have; ignored", ip, f.version))
	}
}

// externalLocal reports whether external clients may only reach endpoints of this node.
func externalLocal(svc *watchers.Service) bool {
	reachable := svc.Type == watchers.TypeNodePort || svc.Type == watchers.TypeLoadBalancer || len(svc.ExternalIPs) > 0
	return svc.ExternalPolicy == watchers.PolicyLocal && reachable
}

// sourceRanges returns the clients that the Service's load balancer addresses of a family
// permit; nil permits all. Ranges that are all of the other family do not restrict this
// one. But an invalid range may have been meant for this family: then none is permitted.
func sourceRanges(svc *watchers.Service, version watchers.IPFamily) []netip.Prefix {
	if !svc.HasSourceRanges {
		return nil
	}
	var ranges []netip.Prefix
	for _, p := range svc.SourceRanges {
		switch {
		case watchers.FamilyOf(p.Addr()) != version:
		case p.Bits() == 0:
			return nil
		default:
			ranges = append(ranges, p.Masked())
		}
	}
	if ranges == nil {
		if svc.HasInvalidSourceRanges {
			return []netip.Prefix{}
		}
		return nil
	}
	slices.SortFunc(ranges, netip.Prefix.Compare)
	return slices.Compact(ranges)
}

// addFrontends adds the family's frontends of one port. An address that is both a load
// balancer address and an external IP becomes a load balancer frontend, with its source
// ranges.
func (f *serviceFamily) addFrontends(port *resolvedPort, p *watchers.ServicePort, set *endpointSet) {
	internal, external, passing := f.internalRoutes(set), []overlay.Route(nil), []overlay.Route(nil)
	add := func(kind localsink.FrontendKind, ip netip.Addr, number uint16) {
		fe := overlay.Frontend{Kind: kind, Addr: netip.AddrPortFrom(ip, number), Routes: internal}
		if slices.ContainsFunc(port.Frontends, func(o overlay.Frontend) bool { return o.Addr == fe.Addr }) {
			return
		}
		if kind != localsink.KindClusterIP {
			if external == nil {
				external = f.externalRoutes(set)
			}
			fe.Routes = external
		}
		if port.passExternal && (kind == localsink.KindExternalIP || kind == localsink.KindLoadBalancer) {
			if passing == nil {
				passing = withVerdictPass(external)
			}
			fe.Routes = passing
		}
		if kind == localsink.KindLoadBalancer {
			fe.SourceRanges, fe.NodeSourceRanges = f.sourceRanges, f.nodeSourceRanges
		}
		port.Frontends = append(port.Frontends, fe)
	}
	add(localsink.KindClusterIP, f.clusterIP, p.Port)
	for _, ip := range f.loadBalancers {
		add(localsink.KindLoadBalancer, ip, p.Port)
	}
	for _, ip := range f.externalIPs {
		add(localsink.KindExternalIP, ip, p.Port)
	}
	if p.NodePort != 0 {
		unspecified := netip.IPv6Unspecified()
		if f.version == watchers.FamilyIPv4 {
			unspecified = netip.IPv4Unspecified()
		}
		add(localsink.KindNodePort, unspecified, p.NodePort)
	}
}
