// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// Check checks what the contract promises about the values of a desired state: known
// protocols and kinds, addresses and ports that packets can have, pools of one family, and
// no address that two frontends have. It returns the joined violations. It is for tests of
// code that makes states; node or state may be nil.
func Check(node *localsink.Node, state localsink.State) error {
	c := checker{used: map[used]localsink.ServiceName{}}
	if node != nil {
		c.node(node)
	}
	if state == nil {
		return errors.Join(c.errs...)
	}
	for svc := range state.All() {
		c.at = svc.Name.Object()
		c.wantf(localsink.ValidName(svc.Name.Namespace) && localsink.ValidName(svc.Name.Name), "the name is invalid")
		c.wantf(localsink.ValidOrigin(svc.Name.Origin), "the origin is invalid")
		c.wantf(svc.Name.Origin != "Service", "the origin of a Service is not empty")
		c.extensions(svc.Extensions)
		c.wantf(len(svc.Ports) > 0 || len(svc.Problems) > 0, "neither ports nor problems")
		for i := range svc.Ports {
			c.at = fmt.Sprintf("%s: port %d", svc.Name.Object(), i)
			c.port(svc.Name, &svc.Ports[i])
		}
		if check := svc.HealthCheck; check != nil {
			c.at = svc.Name.Object() + ": health check"
			c.wantf(check.Port != 0, "port 0")
			c.wantf(check.LocalEndpoints >= 0, "%d local endpoints", check.LocalEndpoints)
		}
		for _, p := range svc.Problems {
			c.wantf(p.Object != "" && p.Field != "" && p.Message != "", "a problem without object, field or message: %q", p)
		}
	}
	return errors.Join(c.errs...)
}

// A used address is one that only one frontend of a state can have.
type used struct {
	addr     netip.AddrPort
	protocol localsink.Protocol
}

type checker struct {
	at   string
	used map[used]localsink.ServiceName
	errs []error
}

func (c *checker) wantf(ok bool, format string, args ...any) {
	if !ok {
		c.errs = append(c.errs, fmt.Errorf(c.at+": "+format, args...))
	}
}

// addr checks that packets on a network can have the address.
func (c *checker) addr(a netip.Addr, name string) {
	c.wantf(a.IsValid() && !a.Is4In6() && a.Zone() == "", "%s %s: not a plain IPv4 or IPv6 address", name, a)
}

func (c *checker) networks(list []netip.Prefix, name string) {
	for _, p := range list {
		c.wantf(p.IsValid() && p == p.Masked() && !p.Addr().Is4In6(), "%s %s: not a network, or has host bits", name, p)
	}
}

func (c *checker) node(n *localsink.Node) {
	c.at = "node " + n.Name
	c.wantf(n.Name != "", "the name is empty")
	for _, a := range n.IPs {
		c.addr(a, "address")
		c.wantf(!a.IsUnspecified() && !a.IsMulticast(), "address %s: unspecified or multicast", a)
	}
	for _, a := range n.LoopbackNodePorts {
		c.wantf(a.IsLoopback(), "address %s of loopback node ports: not a loopback address", a)
	}
	c.networks(n.LocalPods.Networks, "network of local pods")
	c.networks(n.NodePortAddresses, "network of node ports")
	c.networks(n.ServiceNetworks, "network of Services")
	c.networks(n.NoMasquerade, "network without masquerade")
	c.extensions(n.Extensions)
	for _, p := range n.ServiceNetworks {
		c.wantf(p.Bits() > 0, "network of Services %s: contains all addresses", p)
	}
}

func (c *checker) extensions(x localsink.Extensions) {
	for e := range x.All() {
		c.wantf(localsink.ValidExtensionKey(e.Key), "the extension key %q is invalid", e.Key)
	}
}

func (c *checker) port(name localsink.ServiceName, p *localsink.Port) {
	c.wantf(slices.Contains([]localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP}, p.Protocol), "protocol %d", p.Protocol)
	c.wantf(p.Name == "" || localsink.ValidName(p.Name), "the name %q is invalid", p.Name)
	c.wantf(p.Affinity >= 0, "affinity %v", p.Affinity)
	c.wantf(p.Selection <= localsink.SelectionLeastConnections, "selection %d", p.Selection)
	c.wantf(p.RefusedPerMille <= 1000, "refused share %d of 1000", p.RefusedPerMille)
	c.wantf(len(p.Frontends) > 0, "no frontends")
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		key := used{fe.Addr, p.Protocol}
		owner, taken := c.used[key]
		c.wantf(!taken, "frontend %s: %s has it too", fe.Addr, owner.Object())
		c.used[key] = name
		c.frontend(p, fe)
	}
	c.endpoints(p)
}

// endpoints checks the pools of a port, its draining endpoints, and their extensions.
func (c *checker) endpoints(p *localsink.Port) {
	for i, pool := range p.Pools {
		for j, e := range pool.Endpoints {
			c.endpoint(e.Addr)
			c.wantf(e.Weight > 0, "pool %d: endpoint %s: weight 0", i, e.Addr)
			c.wantf(e.Addr.Addr().Is4() == pool.Endpoints[0].Addr.Addr().Is4(), "pool %d: two families", i)
			c.wantf(j == 0 || pool.Endpoints[j-1].Addr.Compare(e.Addr) < 0, "pool %d: %s is not in order, or twice", i, e.Addr)
		}
	}
	for i, e := range p.Draining {
		c.endpoint(e)
		c.wantf(i == 0 || p.Draining[i-1].Compare(e) < 0, "draining endpoint %s: not in order, or twice", e)
		c.wantf(!slices.ContainsFunc(p.Pools, func(pool localsink.Pool) bool {
			return slices.ContainsFunc(pool.Endpoints, func(o localsink.Endpoint) bool { return o.Addr == e })
		}), "draining endpoint %s: is in a pool", e)
	}
	c.wantf(p.EndpointExtensions == nil || len(p.EndpointExtensions) > 0, "endpoint extensions: empty, not nil")
	for e, x := range p.EndpointExtensions {
		c.endpoint(e)
		c.wantf(x.Len() > 0, "endpoint %s: an empty list of extensions", e)
		c.extensions(x)
	}
}

func (c *checker) frontend(p *localsink.Port, fe *localsink.Frontend) {
	c.addr(fe.Addr.Addr(), "frontend")
	c.wantf(fe.Addr.Port() != 0, "frontend %s: port 0", fe.Addr)
	c.wantf(fe.Kind >= localsink.KindClusterIP && fe.Kind <= localsink.KindLoadBalancer, "frontend %s: kind %d", fe.Addr, fe.Kind)
	ip := fe.Addr.Addr()
	if fe.Kind == localsink.KindNodePort {
		c.wantf(ip.IsUnspecified(), "node port %s: not the unspecified address", fe.Addr)
	} else {
		c.wantf(!ofNode(ip), "frontend %s: unspecified, loopback or link-local multicast", fe.Addr)
	}
	c.networks(fe.SourceRanges, "source range")
	c.wantf(len(fe.Routes) > 0 && fe.Routes[len(fe.Routes)-1].From == localsink.FromAny, "frontend %s: the last route is not for any client", fe.Addr)
	for _, r := range fe.Routes {
		c.wantf(r.From <= localsink.FromThisNode && r.EmptyVerdict <= localsink.VerdictPass,
			"frontend %s: route from %d, verdict %d", fe.Addr, r.From, r.EmptyVerdict)
		if r.Pool < 0 || r.Pool >= len(p.Pools) {
			c.wantf(false, "frontend %s: pool %d of %d", fe.Addr, r.Pool, len(p.Pools))
			continue
		}
		for _, e := range p.Pools[r.Pool].Endpoints {
			c.wantf(e.Addr.Addr().Is4() == ip.Is4(), "frontend %s: endpoint %s of the other family", fe.Addr, e.Addr)
		}
	}
}

func (c *checker) endpoint(e netip.AddrPort) {
	c.addr(e.Addr(), "endpoint")
	ip := e.Addr()
	c.wantf(!ofNode(ip) && !ip.IsLinkLocalUnicast(), "endpoint %s: unspecified, loopback or link-local", e)
	c.wantf(e.Port() != 0, "endpoint %s: port 0", e)
}

// ofNode reports whether packets to an address have their destination on the node or its
// links.
func ofNode(a netip.Addr) bool {
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast()
}
