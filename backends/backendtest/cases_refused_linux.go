// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"

	"sigs.k8s.io/kpng/localsink"
)

func refusedShareCases() []behaviour {
	all := []behaviour{
		{id: "DP-19", title: "the refused share of connections is refused, the others reach endpoints", check: refusedShare},
		{id: "DP-19-all", title: "a refused share of 1,000 refuses every new connection, 0 none; established ones continue", check: refusedAll},
		{id: "DP-19-empty", title: "a refused share does not change the verdict of an empty pool", check: refusedOfEmptyPool},
		{id: "DP-19-affinity", title: "clients with an affinity entry are not refused",
			needs: localsink.FeatureAffinity, check: refusedWithAffinity},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP | localsink.FeatureRefusedShare
	}
	return all
}

// addRefusing adds a Service with a refused share at all kinds of frontends, and n probes.
func (c *checker) addRefusing(s *step, v variant, share uint16, n int, endpoints ...localsink.Endpoint) {
	frontends := c.supportedFrontends(v, localsink.Route{Masquerade: true})
	s.addPort(v, "a", localsink.Port{RefusedPerMille: share, Pools: onePool(endpoints...), Frontends: frontends})
	c.addManyProbes(s, v, n, v.destinationsOf(frontends...))
}

func refusedShare(c *checker) {
	for _, share := range []uint16{800, 250} {
		s := c.build(func(s *step, v variant) {
			n := 200
			if share == 800 && v.protocol == localsink.ProtocolTCP {
				n = v.manyConnections()
			}
			c.addRefusing(s, v, share, n, fourEndpoints(v)...)
		})
		if !c.sync(s.state()) {
			return
		}
		c.checkDistribution(fmt.Sprintf("refused share of %d per mille", share), s.probes)
	}
}

func refusedAll(c *checker) {
	with := func(share uint16) func(s *step, v variant) {
		return func(s *step, v variant) { c.addRefusing(s, v, share, 40, v.podEndpoint(0), v.remoteEndpoint(0)) }
	}
	flows, ok := c.syncAndOpen(with(0))
	defer closeAll(flows)
	if ok && c.syncAndCheck(with(1000)) {
		c.checkFlows("after all new connections were refused", flows)
	}
	if ok && c.syncAndCheck(with(0)) {
		c.checkFlows("after no new connections were refused", flows)
	}
}

func refusedOfEmptyPool(c *checker) {
	for _, verdict := range []localsink.Verdict{localsink.VerdictDrop, localsink.VerdictReject} {
		if !c.syncAndCheck(func(s *step, v variant) {
			fe := v.frontend(localsink.KindClusterIP, 1, localsink.Route{EmptyVerdict: verdict})
			s.addPort(v, "a", localsink.Port{RefusedPerMille: 500, Pools: onePool(), Frontends: []localsink.Frontend{fe}})
			for range 3 {
				s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
			}
		}) {
			return
		}
	}
}

func refusedWithAffinity(c *checker) {
	with := func(share uint16) bool {
		return c.sync(c.build(func(s *step, v variant) {
			s.addPort(v, "a", localsink.Port{RefusedPerMille: share, Affinity: longAffinity, Pools: onePool(v.endpoints()...),
				Frontends: []localsink.Frontend{v.frontend(localsink.KindClusterIP, 1)}})
		}).state())
	}
	if !with(0) {
		return
	}
	first := c.connectAll(clusterAddr)
	if !with(1000) {
		return
	}
	c.checkSame("after all new clients were refused", first, c.connectAll(clusterAddr))
	s := c.build(func(s *step, v variant) {
		s.probes = append(s.probes, probe{variant: v, client: c.testbed.externalClient(0), source: v.manyClientAddr(0), to: clusterAddr(v)})
	})
	for i, a := range c.runLimited(s.probes, maxParallelRetries, c.waitForRefusal) {
		if p := s.probes[i]; !a.refused && !(a.silent && c.mayRefuseSilently(p)) {
			c.failf(p.variant, "%s without an affinity entry: expected a refusal, observed: %s", p, a)
		}
	}
}
