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

// Fields that problems name.
const (
	clusterIPsField  = "spec.clusterIPs"
	externalIPsField = "spec.externalIPs"
	ingressField     = "status.loadBalancer.ingress"
)

// newMeaning says what one Service means, as if it got every address that it asks for;
// who else holds them is settled later. It is a pure function: the result depends on
// nothing but its arguments, and shares no memory with them that anybody writes to.
func newMeaning(svc *watchers.Service, list []*watchers.EndpointSlice, masqueradeAll bool) *ResolvedService {
	m := &ResolvedService{name: svc.Name, problems: slices.Clone(svc.Problems)}
	for _, slice := range list {
		m.problems = append(m.problems, slice.Problems...)
	}
	if svc.Type == watchers.TypeExternalName || headless(svc) {
		return m
	}
	families := []*family{newFamily(svc, watchers.IPv4, masqueradeAll), newFamily(svc, watchers.IPv6, masqueradeAll)}
	taken := map[claim]string{}
	for i := range svc.Ports {
		p := &svc.Ports[i]
		port := meaningPort{Port: overlay.Port{Name: p.Name, Protocol: p.Protocol, Affinity: svc.Affinity}}
		port.usesLocal = families[0].usesLocal()
		for _, f := range families {
			if p.Port == 0 || !f.clusterIP.IsValid() {
				continue
			}
			r := newReach(candidates(list, f.version, p))
			f.addPort(&port.Port, p, &r)
			port.reaches = append(port.reaches, r)
		}
		m.problems = append(m.problems, dropTwins(svc, &port.Port, taken)...)
		if len(port.Frontends) > 0 {
			m.ports = append(m.ports, port)
		}
	}
	for _, f := range families {
		m.problems = append(m.problems, f.problems...)
	}
	m.healthCheck(svc)
	return m
}

// headless says whether the Service has no cluster IP that could be read.
func headless(svc *watchers.Service) bool {
	valid := func(ip netip.Addr) bool { return ip.IsValid() }
	return !valid(svc.ClusterIP) && !slices.ContainsFunc(svc.ClusterIPs, valid)
}

// dropTwins takes from port the frontends that an earlier port of the same Service
// has taken.
func dropTwins(svc *watchers.Service, port *overlay.Port, taken map[claim]string) (problems []localsink.Problem) {
	port.Frontends = slices.DeleteFunc(port.Frontends, func(fe overlay.Frontend) bool {
		key := claim{fe.Addr, port.Protocol}
		first, twin := taken[key]
		if twin {
			problems = append(problems, problem(svc, field(&fe, port), "port %q already has %s %s %s; ignored",
				first, fe.Kind, fe.Addr, port.Protocol))
			return true
		}
		taken[key] = port.Name
		return false
	})
	return problems
}

// healthCheck is for load balancers whose packets must not leave the node again. A
// pod with addresses of both families counts once.
func (m *ResolvedService) healthCheck(svc *watchers.Service) {
	if svc.Type != watchers.TypeLoadBalancer || svc.ExternalPolicy != watchers.PolicyLocal || len(m.ports) == 0 {
		return
	}
	if svc.HealthCheckNodePort == 0 {
		m.problems = append(m.problems, problem(svc, "spec.healthCheckNodePort",
			"is not set although externalTrafficPolicy is Local; load balancers cannot ask this node"))
	}
	m.healthCheckPort = svc.HealthCheckNodePort
}

func problem(svc *watchers.Service, field, format string, args ...any) localsink.Problem {
	return localsink.Problem{Object: "Service " + svc.Name.String(), Field: field, Message: fmt.Sprintf(format, args...)}
}

// A family is one address family of a Service: it exists where the Service has a
// cluster IP of that family, and brings all other addresses with it.
type family struct {
	version       watchers.IPFamily
	clusterIP     netip.Addr
	loadBalancers []netip.Addr
	externalIPs   []netip.Addr
	sources       []netip.Prefix // for loadBalancers; nil lets in everybody
	nodeSources   []netip.Prefix // let in as well where the node is within sources

	internalLocal, externalLocal, masqueradeAll bool

	problems []localsink.Problem
}

// usesLocal says whether some traffic must stay on the node.
func (f *family) usesLocal() bool { return f.internalLocal || f.externalLocal }

func newFamily(svc *watchers.Service, version watchers.IPFamily, masqueradeAll bool) *family {
	f := &family{
		version:       version,
		clusterIP:     clusterIP(svc, version),
		internalLocal: svc.InternalPolicy == watchers.PolicyLocal,
		externalLocal: externalLocal(svc),
		masqueradeAll: masqueradeAll,
	}
	if !f.usable(svc, f.clusterIP, clusterIPsField) {
		f.clusterIP = netip.Addr{}
		f.absent(svc)
		return f
	}
	for _, in := range svc.Ingress {
		if !in.Proxy && f.usable(svc, in.IP, ingressField) {
			f.loadBalancers = append(f.loadBalancers, in.IP)
		}
	}
	for _, ip := range svc.ExternalIPs {
		if f.usable(svc, ip, externalIPsField) {
			f.externalIPs = append(f.externalIPs, ip)
		}
	}
	f.sources = f.admitted(svc)
	if len(f.sources) > 0 {
		// A node that is let in dials the address from itself: where the address is
		// bound on the node, it is the source too.
		for _, vip := range f.loadBalancers {
			f.nodeSources = append(f.nodeSources, netip.PrefixFrom(vip, vip.BitLen()))
		}
	}
	return f
}

// clusterIP returns the Service's own address of a family, or the zero Addr.
func clusterIP(svc *watchers.Service, version watchers.IPFamily) netip.Addr {
	ip := svc.ClusterIP
	if len(svc.IPFamilies) > 0 {
		i := slices.Index(svc.IPFamilies, version)
		if i < 0 || i >= len(svc.ClusterIPs) {
			return netip.Addr{}
		}
		ip = svc.ClusterIPs[i]
	}
	if watchers.FamilyOf(ip) != version {
		return netip.Addr{}
	}
	return ip
}

// absent reports what a Service asks for in a family that it does not have.
func (f *family) absent(svc *watchers.Service) {
	i := slices.Index(svc.IPFamilies, f.version)
	if i >= 0 && i < len(svc.ClusterIPs) && svc.ClusterIPs[i].IsValid() && len(f.problems) == 0 {
		f.problems = append(f.problems, problem(svc, fmt.Sprintf("spec.clusterIPs[%d]", i),
			"%s is not an IPv%d address, as spec.ipFamilies[%d] says; ignored", svc.ClusterIPs[i], f.version, i))
	}
	for _, ip := range svc.ExternalIPs {
		f.refuse(svc, ip, externalIPsField)
	}
	for _, in := range svc.Ingress {
		if !in.Proxy {
			f.refuse(svc, in.IP, ingressField)
		}
	}
}

func (f *family) refuse(svc *watchers.Service, ip netip.Addr, field string) {
	if watchers.FamilyOf(ip) == f.version {
		f.problems = append(f.problems, problem(svc, field,
			"the Service has no IPv%d cluster IP to go with %s; ignored", f.version, ip))
	}
}

// usable says whether ip is an address of the family that a Service can have. An
// address of the other family is no fault: the other family takes it.
func (f *family) usable(svc *watchers.Service, ip netip.Addr, field string) bool {
	if watchers.FamilyOf(ip) != f.version {
		return false
	}
	if ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() {
		f.problems = append(f.problems, problem(svc, field, "%s cannot be an address of a Service; ignored", ip))
		return false
	}
	return true
}

// externalLocal says whether clients from outside may only reach endpoints of this
// node.
func externalLocal(svc *watchers.Service) bool {
	reachable := svc.Type == watchers.TypeNodePort || svc.Type == watchers.TypeLoadBalancer || len(svc.ExternalIPs) > 0
	return svc.ExternalPolicy == watchers.PolicyLocal && reachable
}

// admitted returns whom the Service's load balancer addresses let in; nil is
// everybody. Ranges that are all of the other family restrict nothing here; but where
// one could not be read, it may have been of this family, and nobody is let in.
func (f *family) admitted(svc *watchers.Service) []netip.Prefix {
	if !svc.HasSourceRanges {
		return nil
	}
	var own []netip.Prefix
	for _, p := range svc.SourceRanges {
		switch {
		case watchers.FamilyOf(p.Addr()) != f.version:
		case p.Bits() == 0:
			return nil
		default:
			own = append(own, p.Masked())
		}
	}
	if own == nil {
		if svc.HasInvalidSourceRanges {
			return []netip.Prefix{}
		}
		return nil
	}
	slices.SortFunc(own, netip.Prefix.Compare)
	return slices.Compact(own)
}

// addPort adds the family's frontends of one port. An address that is both a load
// balancer's and an external IP is the load balancer's, with its source ranges.
func (f *family) addPort(port *overlay.Port, p *watchers.ServicePort, r *reach) {
	internal, external := f.internalRoutes(r), []overlay.Route(nil)
	add := func(kind localsink.FrontendKind, ip netip.Addr, number uint16) {
		fe := overlay.Frontend{Kind: kind, Addr: netip.AddrPortFrom(ip, number), Routes: internal}
		if slices.ContainsFunc(port.Frontends, func(o overlay.Frontend) bool { return o.Addr == fe.Addr }) {
			return
		}
		if kind != localsink.KindClusterIP {
			if external == nil {
				external = f.externalRoutes(r)
			}
			fe.Routes = external
		}
		if kind == localsink.KindLoadBalancer {
			fe.SourceRanges, fe.NodeSourceRanges = f.sources, f.nodeSources
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
		any := netip.IPv6Unspecified()
		if f.version == watchers.IPv4 {
			any = netip.IPv4Unspecified()
		}
		add(localsink.KindNodePort, any, p.NodePort)
	}
}

// anywhere are the pools of traffic that may leave the node.
func anywhere(r *reach) []overlay.Pool {
	if r.nodesHinted {
		return []overlay.Pool{poolNear, poolCluster}
	}
	return []overlay.Pool{poolCluster}
}

// internalRoutes serve the cluster IP. Clients that are not local pods are
// masqueraded, so that answers come back through this node; where local pods
// cannot be told apart, nobody is.
func (f *family) internalRoutes(r *reach) []overlay.Route {
	to := overlay.Route{Pools: anywhere(r)}
	if f.internalLocal {
		to.Pools, to.EmptyVerdict = []overlay.Pool{poolLocal}, emptyLocal(r)
	}
	masqueraded := to
	masqueraded.Masquerade = true
	switch {
	case !r.any:
		return []overlay.Route{to}
	case f.masqueradeAll:
		return []overlay.Route{masqueraded}
	}
	pods, others := to, masqueraded
	pods.From, pods.Condition = localsink.FromLocalPods, overlay.ConditionPodsKnown
	others.Condition, to.Condition = overlay.ConditionPodsKnown, overlay.ConditionPodsUnknown
	return []overlay.Route{pods, others, to}
}

// externalRoutes serve addresses that are meant for clients outside. When those
// may only reach endpoints of this node they keep their address; clients inside
// the node take a short cut to all endpoints, as they would by the cluster IP.
func (f *family) externalRoutes(r *reach) []overlay.Route {
	all := overlay.Route{Pools: anywhere(r)}
	if !r.any {
		return []overlay.Route{all}
	}
	node := all
	node.Masquerade = true
	if !f.externalLocal {
		return []overlay.Route{node}
	}
	node.From = localsink.FromThisNode
	all.From, all.Condition = localsink.FromLocalPods, overlay.ConditionPodsKnown
	return []overlay.Route{all, node, {Pools: []overlay.Pool{poolLocal}, EmptyVerdict: emptyLocal(r)}}
}

// emptyLocal answers clients that may only reach this node's endpoints when there
// is none: nobody says so while another node could help.
func emptyLocal(r *reach) localsink.Verdict {
	if r.any {
		return localsink.VerdictDrop
	}
	return localsink.VerdictReject
}
