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

// A serviceFamily holds the addresses of a Service in one address family, each once.
type serviceFamily struct {
	version watchers.IPFamily
	// served reports whether the Service has the family: it has a cluster IP of it. One with an
	// origin needs none beside other addresses, because the API server gave it none.
	served        bool
	clusterIP     netip.Addr // the zero Addr if there is none
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

// newServiceFamilies returns both families of a Service.
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
	f.served = f.clusterIP.IsValid() || svc.Name.Origin != "" && hasOtherAddress(svc, version)
	if !f.served {
		f.reportIgnored(svc)
		return f
	}
	f.addAddresses(svc)
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

// hasOtherAddress reports whether a Service has an address of a family beside cluster IPs.
func hasOtherAddress(svc *watchers.Service, version watchers.IPFamily) bool {
	return slices.ContainsFunc(svc.ExternalIPs, func(ip netip.Addr) bool { return watchers.FamilyOf(ip) == version }) ||
		slices.ContainsFunc(svc.Ingress, func(in watchers.Ingress) bool { return !in.Proxy && watchers.FamilyOf(in.IP) == version })
}

// addAddresses adds the addresses of load balancers and the external IPs. An address that is
// several of these counts as the cluster IP, or else as that of a load balancer, with its source
// ranges.
func (f *serviceFamily) addAddresses(svc *watchers.Service) {
	if len(svc.Ingress) == 0 && len(svc.ExternalIPs) == 0 {
		return
	}
	seen := map[netip.Addr]struct{}{f.clusterIP: {}}
	add := func(list *[]netip.Addr, ip netip.Addr) {
		if _, known := seen[ip]; !known && watchers.FamilyOf(ip) == f.version {
			seen[ip] = struct{}{}
			*list = append(*list, ip)
		}
	}
	for _, in := range svc.Ingress {
		if !in.Proxy {
			add(&f.loadBalancers, in.IP)
		}
	}
	for _, ip := range svc.ExternalIPs {
		add(&f.externalIPs, ip)
	}
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

// addFrontends adds the family's frontends of one port.
func (f *serviceFamily) addFrontends(port *resolvedPort, p *watchers.ServicePort, set *endpointSet) {
	internal, external, passing := f.internalRoutes(set), []overlay.Route(nil), []overlay.Route(nil)
	add := func(kind localsink.FrontendKind, ip netip.Addr, number uint16) {
		fe := overlay.Frontend{Kind: kind, Addr: netip.AddrPortFrom(ip, number), Routes: internal}
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
	if f.clusterIP.IsValid() {
		add(localsink.KindClusterIP, f.clusterIP, p.Port)
	}
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
