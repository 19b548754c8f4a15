// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

func weightCases() []behaviour {
	all := []behaviour{
		{id: "DP-16", title: "endpoints get connections in proportion to their weights", check: weightsInProportion},
		{id: "DP-16-change", title: "changed weights take effect", check: weightsChange},
		{id: "DP-16-drain", title: "an endpoint that loses its weight keeps its connections and gets no new ones", check: weightBecomesZero},
	}
	for i := range all {
		all[i].needs = localsink.FeatureClusterIP | localsink.FeatureWeights
	}
	return all
}

// weighted returns endpoints with the given weights, on this node and a remote one.
func (v variant) weighted(weights ...uint32) []localsink.Endpoint {
	all := []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0), v.podEndpoint(1), v.remoteEndpoint(1)}[:len(weights)]
	for i, w := range weights {
		all[i].Weight = w
	}
	return all
}

// manyConnections returns how many connections a distribution is measured with: 2,000 with TCP.
func (v variant) manyConnections() int {
	if v.protocol == localsink.ProtocolTCP {
		return 2000
	}
	return 400
}

// supportedFrontends returns frontend 1 of each kind that the backend supports.
func (c *checker) supportedFrontends(v variant, routes ...localsink.Route) []localsink.Frontend {
	var all []localsink.Frontend
	for _, kind := range kinds() {
		if c.unsupported()&kindFeature(kind) == 0 {
			all = append(all, v.frontend(kind, 1, routes...))
		}
	}
	return all
}

// addManyProbes adds n probes in total from each kind of client to the destinations in turn.
func (c *checker) addManyProbes(s *step, v variant, n int, destinations []netip.AddrPort) {
	clients := c.testbed.clientsOfEachKind()
	for i := range n {
		s.addProbes(v, []client{clients[i%len(clients)]}, destinations[i/len(clients)%len(destinations)])
	}
}

// checkWeights syncs a Service whose endpoints have the given weights and measures n
// connections in each variant.
func (c *checker) checkWeights(n func(v variant) int, weights ...uint32) bool {
	s := c.build(func(s *step, v variant) {
		frontends := c.supportedFrontends(v, localsink.Route{Masquerade: true})
		s.addPort(v, "a", localsink.Port{Pools: onePool(v.weighted(weights...)...), Frontends: frontends})
		c.addManyProbes(s, v, n(v), v.destinationsOf(frontends...))
	})
	if !c.sync(s.state()) {
		return false
	}
	c.checkDistribution(fmt.Sprintf("weights %v", weights), s.probes)
	return true
}

func weightsInProportion(c *checker) { c.checkWeights(variant.manyConnections, 1, 3, 6) }

func weightsChange(c *checker) {
	few := func(variant) int { return 200 }
	for _, weights := range [][]uint32{{1, 1, 1}, {1, 8, 1}, {8, 1, 1}, {3, 3, 3, 1}, {1, 3}, {7, 7}} {
		if !c.checkWeights(few, weights...) {
			return
		}
	}
}

func weightBecomesZero(c *checker) {
	before := func(s *step, v variant) {
		s.addClusterIP(v, 1, v.weighted(1, 3, 6)...)
		c.addManyProbes(s, v, 40, []netip.AddrPort{clusterAddr(v)})
	}
	flows, ok := c.syncAndOpen(before)
	defer closeAll(flows)
	for _, then := range []struct {
		when    string
		weights []uint32
	}{
		{"after an endpoint lost its weight", []uint32{0, 3, 6}},
		{"after another endpoint lost its weight", []uint32{0, 3, 0}},
		{"after all endpoints lost their weights", []uint32{0, 0, 0}},
		{"after two endpoints got weights again", []uint32{2, 0, 5}},
	} {
		if !ok || !c.syncAndCheck(func(s *step, v variant) {
			fe, p := v.frontend(localsink.KindClusterIP, 1), localsink.Port{Pools: poolList(newPool())}
			for _, e := range sorted(v.weighted(then.weights...)) {
				if e.Weight == 0 {
					p.Draining = append(p.Draining, e.Addr)
				} else {
					p.Pools[0].Endpoints = append(p.Pools[0].Endpoints, e)
				}
			}
			p.Frontends = []localsink.Frontend{fe}
			s.addPort(v, "s1", p)
			c.addManyProbes(s, v, 20, []netip.AddrPort{fe.Addr})
		}) {
			return
		}
		c.checkFlows(then.when, flows)
	}
}
