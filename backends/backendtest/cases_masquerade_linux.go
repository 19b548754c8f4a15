// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

func masqueradeExceptionCases() []behaviour {
	all := []behaviour{
		{id: "DP-26", title: "endpoints see the client address of clients in NoMasquerade, regardless of the route", check: masqueradeExceptions},
		{id: "DP-26-hairpin", title: "hairpin connections of clients in NoMasquerade are masqueraded", check: hairpinExceptions},
		{id: "DP-26-change", title: "a change of NoMasquerade takes effect; established connections continue", check: masqueradeExceptionsChange},
	}
	for i := range all {
		all[i].needs = localsink.FeatureClusterIP | localsink.FeatureNoMasquerade
	}
	return all
}

// nodeWithExceptions returns the node of the testbed with networks in NoMasquerade.
func nodeWithExceptions(networks ...netip.Prefix) *localsink.Node {
	n := testbedNode()
	n.NoMasquerade = networks
	return n
}

// exceptedClients returns two external clients, the callers on this node, and other pods.
func exceptedClients() []netip.Prefix {
	var all []netip.Prefix
	for _, v := range []variant{{v6: false}, {v6: true}} {
		all = append(all, pairPrefix(v.clientAddr(0)), prefix(v.callerAddr(), 24, 64), prefix(v.otherNodePod(), 16, 48))
	}
	return all
}

// addMasquerading adds a Service with all kinds of frontends whose routes masquerade, and one
// whose routes do not, with probes from clients within and outside of exceptedClients.
func (c *checker) addMasquerading(s *step, v variant) {
	masked := c.supportedFrontends(v, localsink.Route{From: localsink.FromLocalPods, Masquerade: true}, localsink.Route{Masquerade: true})
	plain := v.frontend(localsink.KindClusterIP, 2)
	pools := onePool(v.podEndpoint(0), v.remoteEndpoint(0))
	s.addPort(v, "masked", localsink.Port{Pools: pools, Frontends: masked})
	s.addPort(v, "plain", localsink.Port{Pools: pools, Frontends: []localsink.Frontend{plain}})
	clients := append(c.testbed.clientsOfEachKind(), c.testbed.externalClients()[1:4]...)
	for range 2 {
		s.addProbes(v, clients, v.destinationsOf(append(masked, plain)...)...)
	}
}

func masqueradeExceptions(c *checker) {
	c.node = nodeWithExceptions(exceptedClients()...)
	c.driver.Node = c.node
	c.syncAndCheck(c.addMasquerading)
}

func hairpinExceptions(c *checker) {
	var networks []netip.Prefix
	for _, v := range []variant{{v6: false}, {v6: true}} {
		networks = append(networks, v.podNetwork(), prefix(v.remoteAddr(0), 24, 64))
	}
	c.node = nodeWithExceptions(networks...)
	c.driver.Node = c.node
	hairpin(c)
}

func masqueradeExceptionsChange(c *checker) {
	if !c.syncAndCheck(c.addMasquerading) {
		return
	}
	flows := c.openFlows(c.build(c.addMasquerading).probes)
	defer closeAll(flows)
	everything := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	for _, networks := range [][]netip.Prefix{exceptedClients(), exceptedClients()[1:2], everything, nil, exceptedClients()} {
		if !c.replaceNode(nodeWithExceptions(networks...)) {
			return
		}
		c.checkAgain(c.addMasquerading)
	}
	c.checkFlows("after changes of NoMasquerade", flows)
	if c.restart() {
		c.checkAgain(c.addMasquerading)
	}
}
