// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

func clientCases() []behaviour {
	return []behaviour{
		{id: "DP-20", title: "endpoints see a node address if the route masquerades, otherwise the client address",
			needs: localsink.FeatureExternalIP, noProxy: "every connection is masqueraded", check: masquerading},
		{id: "DP-22", title: "hairpin connections are masqueraded regardless of the route",
			needs: localsink.FeatureClusterIP, check: hairpin},
		{id: "DP-23", title: "masqueraded clients with the same source port do not interfere",
			needs: localsink.FeatureNodePort, check: samePort},
		{id: "DP-30", title: "source ranges admit listed clients, at their frontend only",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureExternalIP | localsink.FeatureSourceRanges, check: sourceRanges},
		{id: "DP-31", title: "unlisted clients get no answer; an empty list admits no client",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges, check: sourcesNotListed},
		{id: "SEL-11", title: "each kind of client follows the first matching route",
			needs: localsink.FeatureExternalIP | localsink.FeatureNodePort, check: routesByClient},
		{id: "SEL-11-order", title: "the order of routes decides, not the kind of client",
			needs: localsink.FeatureExternalIP, check: routeOrder},
		{id: "SEL-11-pods", title: "pods are recognised by network, interface and interface prefix",
			needs: localsink.FeatureClusterIP, noProxy: "the input interface of a packet is unknown",
			noSockets: "pods are recognised by their network namespaces", check: podSources},
		{id: "SEL-22", title: "source ranges apply before the verdict of an empty pool",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges, check: sourceRangesFirst},
		{id: "node-changed", title: "a change of NodePortAddresses takes effect",
			needs: localsink.FeatureNodePort, check: nodeChanged},
	}
}

func masquerading(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		pods, node := localsink.Route{From: localsink.FromLocalPods}, localsink.Route{From: localsink.FromThisNode}
		for i, bits := range []int{0, 1, 2, 3, 4, 5, 6, 7} {
			routes := []localsink.Route{pods, node, {}}
			for j := range routes {
				routes[j].Masquerade = bits>>j&1 == 1
			}
			fe := v.frontend(localsink.KindExternalIP, i+1, routes...)
			s.addPort(v, fmt.Sprint("a", i), localsink.Port{
				Pools:     onePool(v.podEndpoint(i%2), v.remoteEndpoint(i%2)),
				Frontends: []localsink.Frontend{fe},
			})
			s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
		}
	})
}

func hairpin(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		for i, kind := range kinds() {
			if c.unsupported()&kindFeature(kind) != 0 {
				continue
			}
			for j, masquerade := range []bool{false, true} {
				number := 2*i + j + 1
				alone := v.frontend(kind, number, localsink.Route{Masquerade: masquerade})
				s.addPort(v, fmt.Sprint("alone", number), localsink.Port{Pools: onePool(v.podEndpoint(0)), Frontends: []localsink.Frontend{alone}})
				shared := v.frontend(kind, number+10, localsink.Route{Masquerade: masquerade})
				s.addPort(v, fmt.Sprint("shared", number), localsink.Port{
					Pools:     onePool(v.podEndpoint(1), v.remoteEndpoint(0)),
					Frontends: []localsink.Frontend{shared},
				})
				s.addProbes(v, []client{c.testbed.endpointClient(0)}, v.destinations(alone)...)
				for range 4 { // the endpoint is random: the client itself or the other one
					s.addProbes(v, []client{c.testbed.endpointClient(1)}, v.destinations(shared)...)
				}
			}
		}
	})
}

// samePort holds connections of several clients open that differ in the source address
// only, which masquerading replaces.
func samePort(c *checker) {
	s := c.build(func(s *step, v variant) {
		s.addProbes(v, c.testbed.externalClients(), v.destinations(nodePortService(s, v))[0])
	})
	if !c.sync(s.state()) {
		return
	}
	var flows []*flow
	for i, p := range s.probes {
		p.port = 30000
		f, err := p.open(p.client.limits.Answer)
		c.count(p.variant, answer{})
		if err != nil {
			c.failf(p.variant, "%s from source port %d, connection %d with that port: %v", p, p.port, i+1, err)
			continue
		}
		flows = append(flows, f)
	}
	for _, f := range flows {
		if err := f.exchange(64); err != nil {
			c.failf(f.variant, "%s from source port %d, with other connections open: %v", f.probe, f.port, err)
		}
		f.close()
	}
}

// pairPrefix returns a network of two addresses, one of which is a.
func pairPrefix(a netip.Addr) netip.Prefix { return prefix(a, 31, 127) }

func sourceRanges(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		unrestricted, pair, several := v.frontend(localsink.KindLoadBalancer, 1), v.frontend(localsink.KindLoadBalancer, 2), v.frontend(localsink.KindLoadBalancer, 3)
		pair.SourceRanges = []netip.Prefix{pairPrefix(v.clientAddr(0))}
		several.SourceRanges = []netip.Prefix{v.podNetwork(), prefix(v.clientAddr(5), 32, 128), prefix(v.nodeAddr(), 32, 128)}
		external := v.frontend(localsink.KindExternalIP, 1)
		s.addPort(v, "a", localsink.Port{
			Pools:     onePool(v.podEndpoint(0), v.remoteEndpoint(0)),
			Frontends: []localsink.Frontend{external, unrestricted, pair, several},
		})
		clients := append(c.testbed.clientsOfEachKind(), c.testbed.externalClients()...)
		s.addProbes(v, clients, unrestricted.Addr, pair.Addr, several.Addr, external.Addr)
	})
}

func sourcesNotListed(c *checker) {
	none := []netip.Prefix{}
	for _, sources := range [][]netip.Prefix{none, nil, none} {
		if !c.syncAndCheck(func(s *step, v variant) {
			fe := v.frontend(localsink.KindLoadBalancer, 1)
			fe.SourceRanges = sources
			s.addPort(v, "a", localsink.Port{Pools: onePool(v.podEndpoint(0)), Frontends: []localsink.Frontend{fe}})
			s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
		}) {
			return
		}
	}
}

func sourceRangesFirst(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		fe := v.frontend(localsink.KindLoadBalancer, 1, localsink.Route{EmptyVerdict: localsink.VerdictReject})
		fe.SourceRanges = []netip.Prefix{pairPrefix(v.clientAddr(0))}
		s.addPort(v, "a", localsink.Port{Pools: onePool(), Frontends: []localsink.Frontend{fe}})
		s.addProbes(v, append(c.testbed.clientsOfEachKind(), c.testbed.externalClient(4)), fe.Addr)
	})
}

// routesByKind returns routes that lead each kind of client to another pool.
func routesByKind() []localsink.Route {
	return []localsink.Route{
		{From: localsink.FromLocalPods, Pool: 0},
		{From: localsink.FromThisNode, Pool: 1, Masquerade: true},
		{Pool: 2},
	}
}

func routesByClient(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		all := v.frontend(localsink.KindExternalIP, 1, routesByKind()...)
		port := v.frontend(localsink.KindNodePort, 1, routesByKind()...)
		local := v.frontend(localsink.KindNodePort, 2, routesByKind()...)
		local.Routes[2] = localsink.Route{Pool: 3, EmptyVerdict: localsink.VerdictDrop}
		refusing := v.frontend(localsink.KindExternalIP, 2, routesByKind()...)
		refusing.Routes[0] = localsink.Route{From: localsink.FromLocalPods, Pool: 3, EmptyVerdict: localsink.VerdictReject}
		frontends := []localsink.Frontend{all, port, local, refusing}
		s.addPort(v, "a", localsink.Port{
			Pools:     poolList(newPool(v.podEndpoint(0)), newPool(v.podEndpoint(1), v.remoteEndpoint(0)), newPool(v.remoteEndpoint(1)), newPool()),
			Frontends: frontends,
		})
		s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinationsOf(frontends...)...)
		// A process on the node may use any address of the node.
		for _, a := range []netip.Addr{v.secondNodeAddr(), v.excludedNodeAddr(), v.callerGateway()} {
			for _, to := range v.destinationsOf(frontends...) {
				s.probes = append(s.probes, probe{variant: v, client: c.testbed.nodeClient(), source: a, to: to})
			}
		}
	})
}

func routeOrder(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		routes3 := routesByKind()
		for i, routes := range [][]localsink.Route{
			{routes3[1], routes3[0], routes3[2]},
			{routes3[0], routes3[2]},
			{routes3[1], routes3[2]},
			{routes3[2]},
			{routes3[2], routes3[0], routes3[2]},
		} {
			fe := v.frontend(localsink.KindExternalIP, i+1, routes...)
			s.addPort(v, fmt.Sprint("a", i), localsink.Port{
				Pools:     poolList(newPool(v.podEndpoint(0)), newPool(v.podEndpoint(1)), newPool(v.remoteEndpoint(1))),
				Frontends: []localsink.Frontend{fe},
			})
			s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
			// The node's address on the pod network matches the routes of pods and of the node.
			s.probes = append(s.probes, probe{variant: v, client: c.testbed.nodeClient(), source: v.podGateway(), to: fe.Addr})
		}
	})
}

func podSources(c *checker) {
	probes := func(s *step, v variant) {
		fe := v.frontend(localsink.KindClusterIP, 1, localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: 1, Masquerade: true})
		s.addPort(v, "a", localsink.Port{
			Pools:     poolList(newPool(v.remoteEndpoint(0)), newPool(v.remoteEndpoint(1))),
			Frontends: []localsink.Frontend{fe},
		})
		s.addProbes(v, append(c.testbed.clientsOfEachKind(), c.testbed.endpointClient(3)), fe.Addr)
	}
	if !c.syncAndCheck(probes) {
		return
	}
	for _, sources := range []localsink.PodSources{
		{},
		{Interface: "pods1"},
		{Interface: "pods"},
		{InterfacePrefix: "pods"},
		{Interface: "remote", InterfacePrefix: "outs"},
		{Interface: "pods0", Networks: testbedNode().LocalPods.Networks},
	} {
		n := testbedNode()
		n.LocalPods = sources
		if !c.changeNode(n) {
			return
		}
		c.checkAgain(probes)
	}
}

func nodeChanged(c *checker) {
	probes := func(s *step, v variant) {
		fe := nodePortService(s, v)
		to := append(v.destinations(fe), netip.AddrPortFrom(v.excludedNodeAddr(), fe.Addr.Port()))
		s.addProbes(v, c.testbed.clientsOfEachKind(), to...)
	}
	if !c.syncAndCheck(probes) {
		return
	}
	for _, networks := range [][]netip.Prefix{
		{netip.MustParsePrefix("192.0.2.77/32"), netip.MustParsePrefix("2001:db8:1::77/128")},
		{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		{netip.MustParsePrefix("0.0.0.0/0")},
		nil,
		testbedNode().NodePortAddresses,
	} {
		n := testbedNode()
		n.NodePortAddresses = networks
		if !c.changeNode(n) {
			return
		}
		c.checkAgain(probes)
	}
}
