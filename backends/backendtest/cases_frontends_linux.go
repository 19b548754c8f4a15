// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// toOne leads a frontend of a kind to endpoints of the node and elsewhere, from
// everywhere, masqueraded or not.
func toOne(kind localsink.FrontendKind) func(c *checker) {
	return func(c *checker) {
		c.step(func(s *step, v variant) {
			plain, masked := v.front(kind, 1), v.front(kind, 2, localsink.Route{Masquerade: true})
			far := v.front(kind, 3, localsink.Route{Masquerade: true})
			s.serve(v, "plain", localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{plain}})
			s.serve(v, "masked", localsink.Port{Pools: pools(pool(v.pod(1), v.remote(0))), Frontends: []localsink.Frontend{masked}})
			s.serve(v, "far", localsink.Port{Pools: pools(pool(v.remote(1))), Frontends: []localsink.Frontend{far}})
			for range 3 {
				s.ask(v, c.w.everyone(), v.dialsAll(plain, masked, far)...)
			}
		})
	}
}

func addressCases() []behaviour {
	return []behaviour{
		{id: "DP-01", title: "a cluster IP leads to its endpoints from everywhere",
			needs: localsink.FeatureClusterIP, check: toOne(localsink.KindClusterIP)},
		{id: "DP-02", title: "ports of a cluster IP that no Service has are refused",
			needs: localsink.FeatureClusterIP, check: undefinedPorts},
		{id: "DP-04", title: "a node port leads to its endpoints on every permitted address of the node",
			needs: localsink.FeatureNodePort, check: toOne(localsink.KindNodePort)},
		{id: "DP-05", title: "a node port does not answer on other addresses of the node",
			needs: localsink.FeatureNodePort, check: forbiddenNodePorts},
		{id: "DP-06", title: "an external IP leads to its endpoints from everywhere",
			needs: localsink.FeatureExternalIP, check: toOne(localsink.KindExternalIP)},
		{id: "DP-07", title: "a load balancer's address leads to its endpoints from everywhere",
			needs: localsink.FeatureLoadBalancer, check: toOne(localsink.KindLoadBalancer)},
		{id: "DP-11", title: "an endpoint may be a process of the node itself",
			needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, check: hostEndpoint},
		{id: "DP-13", title: "a process that listens on a node port does not hide it",
			needs: localsink.FeatureNodePort, check: shadowed},
		{id: "DP-24", title: "what is no Service's passes by, unaltered",
			needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, check: passingBy},
		{id: "DP-61", title: "a node port does not answer on loopback addresses unless the node asks for it",
			needs: localsink.FeatureNodePort, check: loopbackNodePorts},
		{id: "large-messages", title: "messages larger than a packet arrive whole, in both directions",
			needs: localsink.FeatureNodePort, check: largeMessages},
	}
}

func undefinedPorts(c *checker) {
	c.step(func(s *step, v variant) {
		fe := v.front(localsink.KindClusterIP, 1)
		s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{fe}})
		// A port that only the other protocols have.
		other := v.front(localsink.KindClusterIP, 1)
		other.Addr = netip.AddrPortFrom(fe.Addr.Addr(), 1000+uint16(v.protocol))
		s.serve(v, "a", localsink.Port{Name: "other" + v.protocol.String(), Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{other}})
		for _, p := range []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP} {
			s.ask(v, c.w.everyone(), netip.AddrPortFrom(fe.Addr.Addr(), 1000+uint16(p)))
		}
		s.ask(v, c.w.everyone(), fe.Addr, netip.AddrPortFrom(fe.Addr.Addr(), 81), netip.AddrPortFrom(fe.Addr.Addr(), v.targetPort()))
	})
}

// nodePortService serves node port i from endpoint 0.
func nodePortService(s *step, v variant, i int) localsink.Frontend {
	fe := v.front(localsink.KindNodePort, i, localsink.Route{Masquerade: true})
	s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{fe}})
	return fe
}

func forbiddenNodePorts(c *checker) {
	c.step(func(s *step, v variant) {
		fe := nodePortService(s, v, 1)
		for _, a := range []netip.Addr{v.forbiddenAddr(), v.podGateway(), v.callGateway()} {
			s.ask(v, c.w.everyone(), netip.AddrPortFrom(a, fe.Addr.Port()))
		}
		s.ask(v, c.w.everyone(), v.dials(fe)...)
		s.ask(v, c.w.everyone(), netip.AddrPortFrom(v.nodeAddr(), fe.Addr.Port()+1))
	})
}

func loopbackNodePorts(c *checker) {
	probes := func(s *step, v variant) {
		to := netip.AddrPortFrom(v.loopback(), nodePortService(s, v, 1).Addr.Port())
		s.probes = append(s.probes, probe{v: v, client: c.w.nodeItself(), source: v.loopback(), to: to})
	}
	if !c.step(probes) {
		return
	}
	everywhere := worldNode()
	everywhere.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	if c.change(everywhere) {
		c.unchanged(probes)
	}
}

func hostEndpoint(c *checker) {
	c.step(func(s *step, v variant) {
		ip, port := v.front(localsink.KindClusterIP, 1), v.front(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
		s.serve(v, "a", localsink.Port{Pools: pools(pool(v.host())), Frontends: []localsink.Frontend{ip, port}})
		s.ask(v, c.w.everyone(), v.dialsAll(ip, port)...)
	})
}

func shadowed(c *checker) {
	for _, v := range c.variants {
		for _, to := range v.dials(v.front(localsink.KindNodePort, 1)) {
			if err := c.w.servers.start(c.w.node, v.protocol, to); err != nil {
				c.fail(v, "server of the test: %v", err)
				return
			}
		}
	}
	c.step(func(s *step, v variant) {
		s.ask(v, c.w.everyone(), v.dials(nodePortService(s, v, 1))...)
	})
}

// passingBy: node ports have the number of the endpoints' own port, which is theirs to
// answer all the same.
func passingBy(c *checker) {
	direct := func(s *step, v variant) {
		s.ask(v, c.w.everyone(), v.remote(0).Addr, netip.AddrPortFrom(v.podAddr(2), v.targetPort()))
		s.ask(v, []client{c.w.nodeItself(), c.w.localPod(), c.w.remotePod(), c.w.endpointPod(0)},
			netip.AddrPortFrom(v.clientAddr(0), v.targetPort()))
	}
	if !c.step(direct) { // without any Service
		return
	}
	c.step(func(s *step, v variant) {
		fe := v.front(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
		fe.Addr = netip.AddrPortFrom(fe.Addr.Addr(), v.targetPort())
		s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{fe}})
		s.serve(v, "b", localsink.Port{Pools: pools(pool(v.pod(0))), Frontends: []localsink.Frontend{v.front(localsink.KindClusterIP, 1)}})
		s.ask(v, c.w.everyone(), v.dials(fe)...)
		direct(s, v)
	})
}

// largeMessages crosses the node with fragments, where the protocol has them.
func largeMessages(c *checker) {
	s := c.plan(func(s *step, v variant) {
		s.ask(v, c.w.everyone(), v.dials(nodePortService(s, v, 1))...)
	})
	if !c.sync(s.state()) {
		return
	}
	for _, p := range s.probes {
		f, err := p.open(patience)
		if err == nil {
			size := 1 << 20
			if p.v.protocol != localsink.ProtocolTCP {
				size = 8000
			}
			err = f.exchange(size)
			f.close()
		}
		if err != nil {
			c.fail(p.v, "%s: %v", p, err)
		}
		c.count(p.v, answer{})
	}
}
