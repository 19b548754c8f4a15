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
		{id: "DP-20", title: "the endpoint sees the node's address where the route masquerades, and the client's elsewhere",
			needs: localsink.FeatureExternalIP, check: masquerading},
		{id: "DP-22", title: "a connection that ends where it began is masqueraded, whatever the route says",
			needs: localsink.FeatureClusterIP, check: hairpin},
		{id: "DP-23", title: "masqueraded clients with one and the same port do not disturb each other",
			needs: localsink.FeatureNodePort, check: samePort},
		{id: "DP-30", title: "source ranges let in whom they list, at their frontend only",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureExternalIP | localsink.FeatureSourceRanges, check: sourceRanges},
		{id: "DP-31", title: "whom source ranges do not list gets no answer; an empty list lets in nobody",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges, check: shutOut},
		{id: "SEL-11", title: "each kind of client goes where the first matching route leads",
			needs: localsink.FeatureExternalIP | localsink.FeatureNodePort, check: routesByClient},
		{id: "SEL-11-order", title: "the order of routes decides, not the kind of client",
			needs: localsink.FeatureExternalIP, check: routeOrder},
		{id: "SEL-11-pods", title: "pods are recognised by network, by interface, and by the interface's prefix",
			needs: localsink.FeatureClusterIP, check: podSources},
		{id: "SEL-22", title: "source ranges come before the answer of an empty pool",
			needs: localsink.FeatureLoadBalancer | localsink.FeatureSourceRanges, check: rangesFirst},
		{id: "node-changed", title: "a change of the node's addresses for node ports takes effect",
			needs: localsink.FeatureNodePort, check: nodeChanged},
	}
}

func masquerading(c *checker) {
	c.step(func(s *step, v variant) {
		pods, node := localsink.Route{From: localsink.FromLocalPods}, localsink.Route{From: localsink.FromThisNode}
		for i, bits := range []int{0, 1, 2, 3, 4, 5, 6, 7} {
			routes := []localsink.Route{pods, node, {}}
			for j := range routes {
				routes[j].Masquerade = bits>>j&1 == 1
			}
			fe := v.front(localsink.KindExternalIP, i+1, routes...)
			s.serve(v, fmt.Sprint("a", i), localsink.Port{Pools: pools(pool(v.pod(i%2), v.remote(i%2))), Frontends: []localsink.Frontend{fe}})
			s.ask(v, c.w.everyone(), fe.Addr)
		}
	})
}

func hairpin(c *checker) {
	c.step(func(s *step, v variant) {
		for i, kind := range kinds() {
			if c.lacks()&kindFeature(kind) != 0 {
				continue
			}
			for j, masquerade := range []bool{false, true} {
				number := 2*i + j + 1
				alone := v.front(kind, number, localsink.Route{Masquerade: masquerade})
				s.serve(v, fmt.Sprint("alone", number), localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{alone}})
				shared := v.front(kind, number+10, localsink.Route{Masquerade: masquerade})
				s.serve(v, fmt.Sprint("shared", number), localsink.Port{Pools: pools(pool(v.pod(1), v.remote(0))), Frontends: []localsink.Frontend{shared}})
				s.ask(v, []client{c.w.endpointPod(0)}, v.dials(alone)...)
				for range 4 { // by chance, to itself or to another
					s.ask(v, []client{c.w.endpointPod(1)}, v.dials(shared)...)
				}
			}
		}
	})
}

// samePort holds connections of several clients open that differ in nothing but the
// address that is replaced.
func samePort(c *checker) {
	s := c.plan(func(s *step, v variant) {
		s.ask(v, c.w.externals(), v.dials(nodePortService(s, v, 1))[0])
	})
	if !c.sync(s.state()) {
		return
	}
	var flows []*flow
	for i, p := range s.probes {
		p.port = 30000
		f, err := p.open(patience)
		c.count(p.v, answer{})
		if err != nil {
			c.fail(p.v, "%s from port %d, as connection %d from there: %v", p, p.port, i+1, err)
			continue
		}
		flows = append(flows, f)
	}
	for _, f := range flows {
		if err := f.exchange(64); err != nil {
			c.fail(f.v, "%s from port %d, beside others: %v", f.probe, f.port, err)
		}
		f.close()
	}
}

// listing returns a network that holds a and not the client after the next.
func listing(a netip.Addr) netip.Prefix { return prefix(a, 31, 127) }

func sourceRanges(c *checker) {
	c.step(func(s *step, v variant) {
		open, some, several := v.front(localsink.KindLoadBalancer, 1), v.front(localsink.KindLoadBalancer, 2), v.front(localsink.KindLoadBalancer, 3)
		some.SourceRanges = []netip.Prefix{listing(v.clientAddr(0))}
		several.SourceRanges = []netip.Prefix{v.podNetwork(), prefix(v.clientAddr(5), 32, 128), prefix(v.nodeAddr(), 32, 128)}
		beside := v.front(localsink.KindExternalIP, 1)
		s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0), v.remote(0))), Frontends: []localsink.Frontend{beside, open, some, several}})
		clients := append(c.w.everyone(), c.w.externals()...)
		s.ask(v, clients, open.Addr, some.Addr, several.Addr, beside.Addr)
	})
}

func shutOut(c *checker) {
	nobody := []netip.Prefix{}
	for _, sources := range [][]netip.Prefix{nobody, nil, nobody} {
		if !c.step(func(s *step, v variant) {
			fe := v.front(localsink.KindLoadBalancer, 1)
			fe.SourceRanges = sources
			s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{fe}})
			s.ask(v, c.w.everyone(), fe.Addr)
		}) {
			return
		}
	}
}

func rangesFirst(c *checker) {
	c.step(func(s *step, v variant) {
		fe := v.front(localsink.KindLoadBalancer, 1, localsink.Route{EmptyVerdict: localsink.VerdictReject})
		fe.SourceRanges = []netip.Prefix{listing(v.clientAddr(0))}
		s.serve(v, "a", localsink.Port{Pools: pools(pool()), Frontends: []localsink.Frontend{fe}})
		s.ask(v, append(c.w.everyone(), c.w.external(4)), fe.Addr)
	})
}

// threeWays are routes that lead each kind of client elsewhere.
func threeWays() []localsink.Route {
	return []localsink.Route{
		{From: localsink.FromLocalPods, Pool: 0},
		{From: localsink.FromThisNode, Pool: 1, Masquerade: true},
		{Pool: 2},
	}
}

func routesByClient(c *checker) {
	c.step(func(s *step, v variant) {
		all := v.front(localsink.KindExternalIP, 1, threeWays()...)
		port := v.front(localsink.KindNodePort, 1, threeWays()...)
		local := v.front(localsink.KindNodePort, 2, threeWays()...)
		local.Routes[2] = localsink.Route{Pool: 3, EmptyVerdict: localsink.VerdictDrop}
		refusing := v.front(localsink.KindExternalIP, 2, threeWays()...)
		refusing.Routes[0] = localsink.Route{From: localsink.FromLocalPods, Pool: 3, EmptyVerdict: localsink.VerdictReject}
		fronts := []localsink.Frontend{all, port, local, refusing}
		s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0)), pool(v.pod(1), v.remote(0)), pool(v.remote(1)), pool()), Frontends: fronts})
		s.ask(v, c.w.everyone(), v.dialsAll(fronts...)...)
		// A process of the node may use any address of the node.
		for _, a := range []netip.Addr{v.secondAddr(), v.forbiddenAddr(), v.callGateway()} {
			for _, to := range v.dialsAll(fronts...) {
				s.probes = append(s.probes, probe{v: v, client: c.w.nodeItself(), source: a, to: to})
			}
		}
	})
}

func routeOrder(c *checker) {
	c.step(func(s *step, v variant) {
		ways := threeWays()
		for i, routes := range [][]localsink.Route{
			{ways[1], ways[0], ways[2]},
			{ways[0], ways[2]},
			{ways[1], ways[2]},
			{ways[2]},
			{ways[2], ways[0], ways[2]},
		} {
			fe := v.front(localsink.KindExternalIP, i+1, routes...)
			s.serve(v, fmt.Sprint("a", i), localsink.Port{Pools: pools(pool(v.pod(0)), pool(v.pod(1)), pool(v.remote(1))), Frontends: []localsink.Frontend{fe}})
			s.ask(v, c.w.everyone(), fe.Addr)
			// The node's address on the pods' network is of both kinds.
			s.probes = append(s.probes, probe{v: v, client: c.w.nodeItself(), source: v.podGateway(), to: fe.Addr})
		}
	})
}

func podSources(c *checker) {
	probes := func(s *step, v variant) {
		fe := v.front(localsink.KindClusterIP, 1, localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: 1, Masquerade: true})
		s.serve(v, "a", localsink.Port{Pools: pools(pool(v.remote(0)), pool(v.remote(1))), Frontends: []localsink.Frontend{fe}})
		s.ask(v, append(c.w.everyone(), c.w.endpointPod(3)), fe.Addr)
	}
	if !c.step(probes) {
		return
	}
	for _, sources := range []localsink.PodSources{
		{},
		{Interface: "pods1"},
		{Interface: "pods"},
		{InterfacePrefix: "pods"},
		{Interface: "remote", InterfacePrefix: "outs"},
		{Interface: "pods0", Networks: worldNode().LocalPods.Networks},
	} {
		n := worldNode()
		n.LocalPods = sources
		if !c.change(n) {
			return
		}
		c.unchanged(probes)
	}
}

func nodeChanged(c *checker) {
	probes := func(s *step, v variant) {
		fe := nodePortService(s, v, 1)
		to := append(v.dials(fe), netip.AddrPortFrom(v.forbiddenAddr(), fe.Addr.Port()))
		s.ask(v, c.w.everyone(), to...)
	}
	if !c.step(probes) {
		return
	}
	for _, networks := range [][]netip.Prefix{
		{netip.MustParsePrefix("192.0.2.77/32"), netip.MustParsePrefix("2001:db8:1::77/128")},
		{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
		{netip.MustParsePrefix("0.0.0.0/0")},
		nil,
		worldNode().NodePortAddresses,
	} {
		n := worldNode()
		n.NodePortAddresses = networks
		if !c.change(n) {
			return
		}
		c.unchanged(probes)
	}
}
