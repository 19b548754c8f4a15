package nodelocal

import (
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// Fields that problems name.
const (
	clusterIPsField  = "spec.clusterIPs"
	externalIPsField = "spec.externalIPs"
	ingressField     = "status.loadBalancer.ingress"
)

// compute says what a node must do for one Service. It is a pure function: the
// result depends on nothing but its arguments, and shares no memory with them that
// anybody writes to. Addresses that another Service may hold are settled later.
func (v *view) compute(svc *watchers.Service, list []*watchers.EndpointSlice) *localsink.Service {
	out := &localsink.Service{Name: svc.Name, Problems: slices.Clone(svc.Problems)}
	for _, slice := range list {
		out.Problems = append(out.Problems, slice.Problems...)
	}
	if svc.Type == watchers.TypeExternalName || headless(svc) {
		return out
	}
	local := map[watchers.IPFamily]map[netip.Addr]struct{}{watchers.IPv4: {}, watchers.IPv6: {}}
	families := []*family{v.family(svc, watchers.IPv4), v.family(svc, watchers.IPv6)}
	taken := map[claim]string{}
	for i := range svc.Ports {
		p := &svc.Ports[i]
		port := localsink.Port{Name: p.Name, Protocol: p.Protocol, Affinity: svc.Affinity}
		for _, f := range families {
			if p.Port == 0 || !f.clusterIP.IsValid() {
				continue
			}
			all := v.candidates(list, f.version, p)
			localReady(all, local[f.version])
			pools := len(port.Pools)
			f.addPort(&port, p, v.choose(all))
			port.Retained = append(port.Retained, retained(all, port.Pools[pools:])...)
		}
		out.Problems = append(out.Problems, dropTwins(svc, &port, taken)...)
		if len(port.Frontends) > 0 {
			out.Ports = append(out.Ports, port)
		}
	}
	for _, f := range families {
		out.Problems = append(out.Problems, f.problems...)
	}
	out.HealthCheck = healthCheck(out, svc, max(len(local[watchers.IPv4]), len(local[watchers.IPv6])))
	return out
}

// headless says whether the Service has no cluster IP that could be read.
func headless(svc *watchers.Service) bool {
	valid := func(ip netip.Addr) bool { return ip.IsValid() }
	return !valid(svc.ClusterIP) && !slices.ContainsFunc(svc.ClusterIPs, valid)
}

// dropTwins takes from port the frontends that an earlier port of the same Service
// has taken.
func dropTwins(svc *watchers.Service, port *localsink.Port, taken map[claim]string) (problems []localsink.Problem) {
	port.Frontends = slices.DeleteFunc(port.Frontends, func(fe localsink.Frontend) bool {
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
func healthCheck(out *localsink.Service, svc *watchers.Service, localEndpoints int) *localsink.HealthCheck {
	if svc.Type != watchers.TypeLoadBalancer || svc.ExternalPolicy != watchers.PolicyLocal || len(out.Ports) == 0 {
		return nil
	}
	if svc.HealthCheckNodePort == 0 {
		out.Problems = append(out.Problems, problem(svc, "spec.healthCheckNodePort",
			"is not set although externalTrafficPolicy is Local; load balancers cannot ask this node"))
		return nil
	}
	return &localsink.HealthCheck{Port: svc.HealthCheckNodePort, LocalEndpoints: localEndpoints}
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

	internalLocal, externalLocal bool
	detects, masqueradeAll       bool

	problems []localsink.Problem
}

func (v *view) family(svc *watchers.Service, version watchers.IPFamily) *family {
	f := &family{
		version:       version,
		clusterIP:     clusterIP(svc, version),
		internalLocal: svc.InternalPolicy == watchers.PolicyLocal,
		externalLocal: externalLocal(svc),
		detects:       v.detects(version),
		masqueradeAll: v.masqueradeAll,
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
	f.sources = v.sources(svc, f)
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

// sources returns whom the Service's load balancer addresses let in; nil is
// everybody. Ranges that are all of the other family restrict nothing here; but where
// one could not be read, it may have been of this family, and nobody is let in.
func (v *view) sources(svc *watchers.Service, f *family) []netip.Prefix {
	if !svc.Restricted {
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
		if svc.RangesUnread {
			return []netip.Prefix{}
		}
		return nil
	}
	if v.nodeWithin(own) {
		// A node that is let in dials the address from itself: where the address is
		// bound on the node, it is the source too.
		for _, vip := range f.loadBalancers {
			own = append(own, netip.PrefixFrom(vip, vip.BitLen()))
		}
	}
	slices.SortFunc(own, netip.Prefix.Compare)
	return slices.Compact(own)
}

func (v *view) nodeWithin(networks []netip.Prefix) bool {
	for _, ip := range v.node.IPs {
		if slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			return true
		}
	}
	return false
}

// addPort adds the family's frontends of one port. An address that is both a load
// balancer's and an external IP is the load balancer's, with its source ranges.
func (f *family) addPort(port *localsink.Port, p *watchers.ServicePort, c choice) {
	internal, external := f.internalRoutes(port, c), []localsink.Route(nil)
	add := func(kind localsink.FrontendKind, ip netip.Addr, number uint16, sources []netip.Prefix) {
		addr := netip.AddrPortFrom(ip, number)
		if slices.ContainsFunc(port.Frontends, func(o localsink.Frontend) bool { return o.Addr == addr }) {
			return
		}
		routes := internal
		if kind != localsink.ClusterIP {
			if external == nil {
				external = f.externalRoutes(port, c)
			}
			routes = external
		}
		port.Frontends = append(port.Frontends, localsink.Frontend{Kind: kind, Addr: addr, Sources: sources, Routes: routes})
	}
	add(localsink.ClusterIP, f.clusterIP, p.Port, nil)
	for _, ip := range f.loadBalancers {
		add(localsink.LoadBalancer, ip, p.Port, f.sources)
	}
	for _, ip := range f.externalIPs {
		add(localsink.ExternalIP, ip, p.Port, nil)
	}
	if p.NodePort != 0 {
		any := netip.IPv6Unspecified()
		if f.version == watchers.IPv4 {
			any = netip.IPv4Unspecified()
		}
		add(localsink.NodePort, any, p.NodePort, nil)
	}
}

// internalRoutes serve the cluster IP. Clients that are not local pods are
// masqueraded, so that answers come back through this node; where local pods
// cannot be told apart, nobody is.
func (f *family) internalRoutes(port *localsink.Port, c choice) []localsink.Route {
	to := localsink.Route{Pool: poolOf(port, c.cluster)}
	if f.internalLocal {
		to.Pool = poolOf(port, c.local)
		to.Empty = emptyLocal(c)
	}
	masqueraded := to
	masqueraded.Masquerade = true
	switch {
	case !c.any:
		return []localsink.Route{to}
	case f.masqueradeAll:
		return []localsink.Route{masqueraded}
	case f.detects:
		to.From = localsink.LocalPods
		return []localsink.Route{to, masqueraded}
	}
	return []localsink.Route{to}
}

// externalRoutes serve addresses that are meant for clients outside. When those
// may only reach endpoints of this node they keep their address; clients inside
// the node take a short cut to all endpoints, as they would by the cluster IP.
func (f *family) externalRoutes(port *localsink.Port, c choice) []localsink.Route {
	all := poolOf(port, c.cluster)
	if !c.any {
		return []localsink.Route{{Pool: all}}
	}
	if !f.externalLocal {
		return []localsink.Route{{Pool: all, Masquerade: true}}
	}
	var routes []localsink.Route
	if f.detects {
		routes = append(routes, localsink.Route{From: localsink.LocalPods, Pool: all})
	}
	return append(routes,
		localsink.Route{From: localsink.ThisNode, Pool: all, Masquerade: true},
		localsink.Route{Pool: poolOf(port, c.local), Empty: emptyLocal(c)})
}

// emptyLocal answers clients that may only reach this node's endpoints when there
// is none: nobody says so while another node could help.
func emptyLocal(c choice) localsink.Verdict {
	if c.any {
		return localsink.Drop
	}
	return localsink.Reject
}

// poolOf returns the index of the pool with these endpoints, which may be new.
func poolOf(port *localsink.Port, endpoints []localsink.Endpoint) int {
	same := func(p localsink.Pool) bool { return slices.Equal(p.Endpoints, endpoints) }
	if i := slices.IndexFunc(port.Pools, same); i >= 0 {
		return i
	}
	port.Pools = append(port.Pools, localsink.Pool{Endpoints: endpoints})
	return len(port.Pools) - 1
}
