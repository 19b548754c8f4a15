// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func loopbackCases() []behaviour {
	tcp := []localsink.Protocol{localsink.ProtocolTCP}
	others := []localsink.Protocol{localsink.ProtocolUDP, localsink.ProtocolSCTP}
	all := []behaviour{
		{id: "DP-62", title: "a TCP node port answers on the addresses in LoopbackNodePorts", protocols: tcp, check: loopbackAnswers},
		{id: "DP-62-changes", title: "on loopback addresses, changes take effect and established connections continue", protocols: tcp, check: loopbackChanges},
		{id: "DP-62-affinity", title: "on a loopback address, a port with affinity keeps one endpoint", protocols: tcp,
			needs: localsink.FeatureAffinity, check: loopbackAffinity},
		{id: "DP-63", title: "UDP and SCTP node ports do not answer on loopback addresses", protocols: others, check: loopbackAnswers},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureNodePort
		all[i].loopback = true
	}
	return all
}

// loopbackNode returns the node of the testbed with LoopbackNodePorts in the families of vs.
func loopbackNode(vs ...variant) *localsink.Node {
	n := testbedNode()
	for _, v := range vs {
		n.LoopbackNodePorts = append(n.LoopbackNodePorts, v.loopback())
	}
	return n
}

// syncLoopbackNode syncs a node with LoopbackNodePorts of both families and no Services.
func (c *checker) syncLoopbackNode() bool {
	c.state = sinktest.NewState()
	return c.changeNode(loopbackNode(variant{v6: false}, variant{v6: true}))
}

// addLoopbackProbes adds probes from the loopback address to node ports on it.
func (s *step) addLoopbackProbes(c *checker, v variant, frontends ...localsink.Frontend) {
	for _, fe := range frontends {
		to := netip.AddrPortFrom(v.loopback(), fe.Addr.Port())
		s.probes = append(s.probes, probe{variant: v, client: c.testbed.nodeClient(), source: v.loopback(), to: to})
	}
}

func loopbackAnswers(c *checker) {
	probes := func(s *step, v variant) {
		var frontends []localsink.Frontend
		byKind := routesByKind()
		for i, routes := range [][]localsink.Route{
			{{}},
			{{Masquerade: true}},
			{{Pool: 1, Masquerade: true}},
			{{Pool: 2, Masquerade: true}},
			{byKind[0], byKind[1], {Pool: 3, EmptyVerdict: localsink.VerdictDrop}},
			{byKind[0], {Pool: 2}},
			{{Pool: 3}},
			{{Pool: 3, EmptyVerdict: localsink.VerdictDrop}},
		} {
			frontends = append(frontends, v.frontend(localsink.KindNodePort, i+1, routes...))
		}
		s.addPort(v, "a", localsink.Port{
			Pools:     poolList(newPool(v.podEndpoint(0)), newPool(v.podEndpoint(1), v.remoteEndpoint(0)), newPool(v.nodeEndpoint()), newPool()),
			Frontends: frontends,
		})
		s.addLoopbackProbes(c, v, frontends...)
		s.addProbes(v, []client{c.testbed.nodeClient(), c.testbed.externalClient(0)}, v.destinations(frontends[1])...)
		s.addLoopbackProbes(c, v, v.frontend(localsink.KindNodePort, 99))
	}
	if !c.syncAndCheck(probes) {
		return
	}
	four, six := variant{v6: false}, variant{v6: true}
	for _, n := range []*localsink.Node{loopbackNode(four, six), loopbackNode(six), loopbackNode(four), loopbackNode(), loopbackNode(four, six)} {
		if !c.changeNode(n) {
			return
		}
		c.checkAgain(probes)
	}
}

func loopbackChanges(c *checker) {
	if !c.syncLoopbackNode() {
		return
	}
	serve := func(endpoints ...int) func(s *step, v variant) {
		return func(s *step, v variant) {
			fe := v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
			var all []localsink.Endpoint
			for _, i := range endpoints {
				all = append(all, v.endpoints()[i])
			}
			s.addPort(v, "a", localsink.Port{Pools: onePool(all...), Frontends: []localsink.Frontend{fe}})
			for range 4 {
				s.addLoopbackProbes(c, v, fe)
			}
		}
	}
	flows, ok := c.syncAndOpen(serve(0, 4))
	defer closeAll(flows)
	for _, endpoints := range [][]int{{0}, {1}, {1, 4}, {}, {2}} {
		if !ok || !c.syncAndCheck(serve(endpoints...)) {
			return
		}
		c.checkFlows("after the endpoints changed", flows)
	}
	if c.sync(c.build(func(*step, variant) {}).state()) {
		c.checkFlows("after the Service was removed", flows)
		c.check(c.build(serve(2)).probes)
	}
}

func loopbackAffinity(c *checker) {
	if !c.syncLoopbackNode() {
		return
	}
	s := c.build(func(s *step, v variant) {
		fe := v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
		s.addPort(v, "a", localsink.Port{Affinity: time.Hour, Pools: onePool(v.endpoints()...), Frontends: []localsink.Frontend{fe}})
		s.addLoopbackProbes(c, v, fe)
	})
	if !c.sync(s.state()) {
		return
	}
	for _, p := range s.probes {
		first := p.run(p.client.limits.Answer)
		for range 10 {
			if again := p.run(p.client.limits.Answer); first.err != nil || again.err != nil || again.server != first.server {
				c.failf(p.variant, "%s: first connection %s, later connection %s", p, first, again)
				break
			}
		}
	}
}
