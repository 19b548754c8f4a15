// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// frontendLeadsToEndpoints checks a kind of frontend with local and remote endpoints, with
// and without masquerading, from each kind of client.
func frontendLeadsToEndpoints(kind localsink.FrontendKind) func(c *checker) {
	return func(c *checker) {
		c.syncAndCheck(func(s *step, v variant) {
			plain, masked := v.frontend(kind, 1), v.frontend(kind, 2, localsink.Route{Masquerade: true})
			far := v.frontend(kind, 3, localsink.Route{Masquerade: true})
			s.addPort(v, "plain", localsink.Port{Pools: onePool(v.podEndpoint(0)), Frontends: []localsink.Frontend{plain}})
			s.addPort(v, "masked", localsink.Port{Pools: onePool(v.podEndpoint(1), v.remoteEndpoint(0)), Frontends: []localsink.Frontend{masked}})
			s.addPort(v, "far", localsink.Port{Pools: onePool(v.remoteEndpoint(1)), Frontends: []localsink.Frontend{far}})
			for range 3 {
				s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinationsOf(plain, masked, far)...)
			}
		})
	}
}

func addressCases() []behaviour {
	return []behaviour{
		{id: "DP-01", title: "a cluster IP leads to its endpoints from every kind of client",
			needs: localsink.FeatureClusterIP, check: frontendLeadsToEndpoints(localsink.KindClusterIP)},
		{id: "DP-02", title: "undefined ports of a cluster IP are refused",
			needs: localsink.FeatureClusterIP, check: undefinedPortsRefused},
		{id: "DP-04", title: "a node port leads to its endpoints on every address in NodePortAddresses",
			needs: localsink.FeatureNodePort, check: frontendLeadsToEndpoints(localsink.KindNodePort)},
		{id: "DP-05", title: "a node port does not answer on other addresses of the node",
			needs: localsink.FeatureNodePort, check: excludedNodeAddresses},
		{id: "DP-06", title: "an external IP leads to its endpoints from every kind of client",
			needs: localsink.FeatureExternalIP, check: frontendLeadsToEndpoints(localsink.KindExternalIP)},
		{id: "DP-07", title: "a load balancer IP leads to its endpoints from every kind of client",
			needs: localsink.FeatureLoadBalancer, check: frontendLeadsToEndpoints(localsink.KindLoadBalancer)},
		{id: "DP-11", title: "a process on the node may be an endpoint",
			needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, check: nodeIsEndpoint},
		{id: "DP-13", title: "a process that listens on a node port does not hide the node port",
			needs: localsink.FeatureNodePort, noProxy: "the other process has the address", check: listeningProcess},
		{id: "DP-24", title: "traffic outside of Services is not changed",
			needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, check: otherTraffic},
		{id: "DP-61", title: "a node port does not answer on loopback addresses without LoopbackNodePorts",
			needs: localsink.FeatureNodePort, check: loopbackNodePorts},
		{id: "large-messages", title: "messages larger than a packet arrive complete in both directions",
			needs: localsink.FeatureNodePort, check: largeMessages},
	}
}

func undefinedPortsRefused(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		fe := v.frontend(localsink.KindClusterIP, 1)
		s.addPort(v, "a", localsink.Port{Pools: onePool(v.podEndpoint(0)), Frontends: []localsink.Frontend{fe}})
		// This port is defined for one protocol only.
		other := v.frontend(localsink.KindClusterIP, 1)
		other.Addr = netip.AddrPortFrom(fe.Addr.Addr(), 1000+uint16(v.protocol))
		s.addPort(v, "a", localsink.Port{
			Name:      "other" + v.protocol.String(),
			Pools:     onePool(v.podEndpoint(0)),
			Frontends: []localsink.Frontend{other},
		})
		for _, p := range []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP} {
			s.addProbes(v, c.testbed.clientsOfEachKind(), netip.AddrPortFrom(fe.Addr.Addr(), 1000+uint16(p)))
		}
		s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr, netip.AddrPortFrom(fe.Addr.Addr(), 81), netip.AddrPortFrom(fe.Addr.Addr(), v.targetPort()))
	})
}

// nodePortService adds a Service with node port 1.
func nodePortService(s *step, v variant) localsink.Frontend {
	fe := v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
	s.addPort(v, "a", localsink.Port{Pools: onePool(v.podEndpoint(0)), Frontends: []localsink.Frontend{fe}})
	return fe
}

func excludedNodeAddresses(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		fe := nodePortService(s, v)
		for _, a := range []netip.Addr{v.excludedNodeAddr(), v.podGateway(), v.callerGateway()} {
			s.addProbes(v, c.testbed.clientsOfEachKind(), netip.AddrPortFrom(a, fe.Addr.Port()))
		}
		s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinations(fe)...)
		s.addProbes(v, c.testbed.clientsOfEachKind(), netip.AddrPortFrom(v.nodeAddr(), fe.Addr.Port()+1))
	})
}

func loopbackNodePorts(c *checker) {
	probes := func(s *step, v variant) {
		to := netip.AddrPortFrom(v.loopback(), nodePortService(s, v).Addr.Port())
		s.probes = append(s.probes, probe{variant: v, client: c.testbed.nodeClient(), source: v.loopback(), to: to})
	}
	if !c.syncAndCheck(probes) {
		return
	}
	everywhere := testbedNode()
	everywhere.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	if c.changeNode(everywhere) {
		c.checkAgain(probes)
	}
}

func nodeIsEndpoint(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		ip, port := v.frontend(localsink.KindClusterIP, 1), v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
		s.addPort(v, "a", localsink.Port{Pools: onePool(v.nodeEndpoint()), Frontends: []localsink.Frontend{ip, port}})
		s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinationsOf(ip, port)...)
	})
}

func listeningProcess(c *checker) {
	for _, v := range c.variants {
		for _, to := range v.destinations(v.frontend(localsink.KindNodePort, 1)) {
			if err := c.testbed.servers.start(c.testbed.node, v.protocol, to); err != nil {
				c.failf(v, "start server on the node: %v", err)
				return
			}
		}
	}
	c.syncAndCheck(func(s *step, v variant) {
		s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinations(nodePortService(s, v))...)
	})
}

// otherTraffic uses a node port with the number of the target port, to catch backends that
// capture traffic to endpoints.
func otherTraffic(c *checker) {
	direct := func(s *step, v variant) {
		s.addProbes(v, c.testbed.clientsOfEachKind(), v.remoteEndpoint(0).Addr, netip.AddrPortFrom(v.podAddr(2), v.targetPort()))
		s.addProbes(v, []client{c.testbed.nodeClient(), c.testbed.localPodClient(), c.testbed.remotePodClient(), c.testbed.endpointClient(0)},
			netip.AddrPortFrom(v.clientAddr(0), v.targetPort()))
	}
	if !c.syncAndCheck(direct) { // without any Service
		return
	}
	c.syncAndCheck(func(s *step, v variant) {
		fe := v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
		fe.Addr = netip.AddrPortFrom(fe.Addr.Addr(), v.targetPort())
		s.addPort(v, "a", localsink.Port{Pools: onePool(v.podEndpoint(0)), Frontends: []localsink.Frontend{fe}})
		s.addPort(v, "b", localsink.Port{
			Pools:     onePool(v.podEndpoint(0)),
			Frontends: []localsink.Frontend{v.frontend(localsink.KindClusterIP, 1)},
		})
		s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinations(fe)...)
		direct(s, v)
	})
}

// largeMessages needs fragments for UDP and SCTP.
func largeMessages(c *checker) {
	s := c.build(func(s *step, v variant) {
		s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinations(nodePortService(s, v))...)
	})
	if !c.sync(s.state()) {
		return
	}
	for _, p := range s.probes {
		f, err := p.open(p.client.limits.Answer)
		if err == nil {
			size := 1 << 20
			if p.variant.protocol != localsink.ProtocolTCP {
				size = 8000
			}
			err = f.exchange(size)
			f.close()
		}
		if err != nil {
			c.failf(p.variant, "%s: %v", p, err)
		}
		c.count(p.variant, answer{})
	}
}
