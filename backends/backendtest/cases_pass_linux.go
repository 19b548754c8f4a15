// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

func passCases() []behaviour {
	udp := []localsink.Protocol{localsink.ProtocolUDP}
	all := []behaviour{
		{id: "DP-27", title: "with verdict pass, packets reach the destination as if there were no Service", check: passedPackets},
		{id: "DP-27-networks", title: "verdict pass takes precedence over the refusal of cluster IPs and of ServiceNetworks", check: passInServiceNetworks},
		{id: "DP-27-routes", title: "verdict pass applies to the clients of its route only, and after source ranges", check: passByClient},
		{id: "DP-27-change", title: "verdict pass begins and ends with the pool and with the verdict; established connections continue", check: passChanges},
		{id: "CT-11", title: "a UDP client that was passed reaches the first endpoint, and is passed again without it",
			protocols: udp, check: passedFlowsMove},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP | localsink.FeaturePass
	}
	return all
}

// passing returns a frontend with an address at which a server of the testbed listens. All
// clients use the first pool.
func passing(kind localsink.FrontendKind, addr netip.AddrPort) localsink.Frontend {
	return localsink.Frontend{Kind: kind, Addr: addr, Routes: []localsink.Route{{EmptyVerdict: localsink.VerdictPass}}}
}

// passingFrontends returns a frontend of each kind that the backend supports, with addresses of
// servers on a remote node, in a pod of this node, and on the node itself.
func (c *checker) passingFrontends(v variant) []localsink.Frontend {
	all := []localsink.Frontend{
		passing(localsink.KindClusterIP, v.remoteEndpoint(0).Addr),
		passing(localsink.KindExternalIP, v.podEndpoint(1).Addr),
		passing(localsink.KindLoadBalancer, v.remoteEndpoint(1).Addr),
		passing(localsink.KindNodePort, netip.AddrPortFrom(v.frontend(localsink.KindNodePort, 0).Addr.Addr(), v.nodeEndpoint().Addr.Port())),
	}
	var supported []localsink.Frontend
	for _, fe := range all {
		if c.unsupported()&kindFeature(fe.Kind) == 0 {
			supported = append(supported, fe)
		}
	}
	return supported
}

// addPassing adds a Service with these frontends, and probes.
func (c *checker) addPassing(s *step, v variant, verdict localsink.Verdict, endpoints ...localsink.Endpoint) {
	frontends := c.passingFrontends(v)
	for i := range frontends {
		frontends[i].Routes[0] = localsink.Route{EmptyVerdict: verdict, Masquerade: frontends[i].Kind == localsink.KindNodePort}
	}
	s.addPort(v, "a", localsink.Port{Pools: onePool(endpoints...), Frontends: frontends})
	s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinationsOf(frontends...)...)
}

func passedPackets(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		c.addPassing(s, v, localsink.VerdictPass)
		// A frontend with the exact address precedes a node port, and passes too.
		if c.unsupported()&(localsink.FeatureNodePort|localsink.FeatureExternalIP) == 0 {
			exact := passing(localsink.KindExternalIP, netip.AddrPortFrom(v.nodeAddr(), nodePort(1)))
			s.addPort(v, "exact", localsink.Port{Pools: onePool(), Frontends: []localsink.Frontend{exact}})
			s.addPort(v, "port", localsink.Port{Pools: onePool(v.podEndpoint(0)),
				Frontends: []localsink.Frontend{v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})}})
			s.addProbes(v, c.testbed.clientsOfEachKind(), exact.Addr, netip.AddrPortFrom(v.secondNodeAddr(), nodePort(1)))
		}
	})
}

func passInServiceNetworks(c *checker) {
	n := testbedNode()
	for _, v := range []variant{{v6: false}, {v6: true}} {
		n.ServiceNetworks = append(n.ServiceNetworks, prefix(v.remoteAddr(0), 24, 64))
	}
	c.node, c.driver.Node = n, n
	probes := func(s *step, v variant) {
		fe := passing(localsink.KindClusterIP, v.remoteEndpoint(2).Addr)
		s.addPort(v, "a", localsink.Port{Pools: onePool(), Frontends: []localsink.Frontend{fe}})
		// Another port of the cluster IP, and an address of the network without a Service.
		other := netip.AddrPortFrom(fe.Addr.Addr(), fe.Addr.Port()+1)
		s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr, other, v.remoteEndpoint(3).Addr)
	}
	if c.syncAndCheck(probes) && c.changeNode(testbedNode()) {
		c.checkAgain(probes)
	}
}

func passByClient(c *checker) {
	c.syncAndCheck(func(s *step, v variant) {
		fe := passing(localsink.KindClusterIP, v.remoteEndpoint(0).Addr)
		fe.Routes = []localsink.Route{
			{From: localsink.FromLocalPods, Pool: 1, EmptyVerdict: localsink.VerdictPass},
			{From: localsink.FromThisNode, Pool: 1, EmptyVerdict: localsink.VerdictDrop},
			{Pool: 0},
		}
		frontends := []localsink.Frontend{fe}
		if c.unsupported()&(localsink.FeatureLoadBalancer|localsink.FeatureSourceRanges) == 0 {
			restricted := passing(localsink.KindLoadBalancer, v.remoteEndpoint(1).Addr)
			restricted.Routes[0].Pool = 1
			restricted.SourceRanges = []netip.Prefix{pairPrefix(v.clientAddr(0)), v.podNetwork()}
			frontends = append(frontends, restricted)
		}
		s.addPort(v, "a", localsink.Port{Pools: poolList(newPool(v.podEndpoint(2)), newPool()), Frontends: frontends})
		s.addProbes(v, append(c.testbed.clientsOfEachKind(), c.testbed.externalClient(5)), v.destinationsOf(frontends...)...)
	})
}

func passChanges(c *checker) {
	var flows []*flow
	defer func() { closeAll(flows) }()
	for _, round := range []struct {
		verdict localsink.Verdict
		full    bool
	}{
		{localsink.VerdictPass, false}, {localsink.VerdictPass, true}, {localsink.VerdictPass, false}, {localsink.VerdictReject, false},
		{localsink.VerdictPass, false}, {localsink.VerdictDrop, false}, {localsink.VerdictDrop, true}, {localsink.VerdictPass, false},
	} {
		with := func(s *step, v variant) {
			if round.full {
				c.addPassing(s, v, round.verdict, v.podEndpoint(0))
			} else {
				c.addPassing(s, v, round.verdict)
			}
		}
		if !c.syncAndCheck(with) {
			return
		}
		c.checkFlows("after a change of the pool or the verdict", flows)
		if flows == nil { // UDP flows move; see CT-11
			for _, p := range c.build(with).probes {
				if p.variant.protocol != localsink.ProtocolUDP && c.testbed.servers.listensOn(p.variant.protocol, p.to) {
					flows = append(flows, c.openFlows([]probe{p})...)
				}
			}
		}
	}
}

func passedFlowsMove(c *checker) {
	serve := func(endpoints func(v variant) []localsink.Endpoint) func(s *step, v variant) {
		return func(s *step, v variant) {
			fe := passing(localsink.KindClusterIP, v.remoteEndpoint(0).Addr)
			s.addPort(v, "a", localsink.Port{Pools: onePool(endpoints(v)...), Frontends: []localsink.Frontend{fe}})
			s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
		}
	}
	none := serve(func(variant) []localsink.Endpoint { return nil })
	one := serve(func(v variant) []localsink.Endpoint { return []localsink.Endpoint{v.podEndpoint(0)} })
	flows, ok := c.syncAndOpen(none)
	defer closeAll(flows)
	for range 2 {
		if !ok || !c.syncAndCheck(one) {
			return
		}
		c.checkMoved(flows, func(v variant) localsink.Endpoint { return v.podEndpoint(0) })
		if !c.syncAndCheck(none) {
			return
		}
		c.checkMoved(flows, func(v variant) localsink.Endpoint { return v.remoteEndpoint(0) })
	}
}
