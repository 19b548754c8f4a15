// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

func refusalCases() []behaviour {
	return []behaviour{
		{id: "SEL-20", title: "an empty pool with verdict reject is refused within a second at every frontend", check: emptyPool(localsink.VerdictReject)},
		{id: "SEL-20-drop", title: "an empty pool with verdict drop gives no answer at any frontend", check: emptyPool(localsink.VerdictDrop)},
		{id: "SEL-20-both", title: "a changed verdict takes effect, and ends with the first endpoint",
			needs: localsink.FeatureExternalIP, check: verdictChanges},
		{id: "DP-10", title: "echo requests to Service addresses reach no endpoint; those to the node reach the node",
			needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, protocols: []localsink.Protocol{localsink.ProtocolTCP}, check: echoes},
	}
}

// emptyPool checks the verdict at each kind of frontend that the backend supports.
func emptyPool(verdict localsink.Verdict) func(c *checker) {
	return func(c *checker) {
		c.syncAndCheck(func(s *step, v variant) {
			for _, kind := range kinds() {
				if c.unsupported()&kindFeature(kind) != 0 {
					continue
				}
				fe := v.frontend(kind, 1, localsink.Route{Pool: 1, EmptyVerdict: verdict, Masquerade: true})
				s.addPort(v, "a", localsink.Port{Name: v.protocol.String() + kind.String(),
					Pools: poolList(newPool(v.podEndpoint(0)), newPool()), Frontends: []localsink.Frontend{fe}})
				s.addProbes(v, append(c.testbed.clientsOfEachKind(), c.testbed.endpointClient(0)), v.destinations(fe)...)
			}
		})
	}
}

func verdictChanges(c *checker) {
	for _, round := range []struct {
		verdict localsink.Verdict
		full    bool
	}{
		{localsink.VerdictReject, false}, {localsink.VerdictDrop, false}, {localsink.VerdictDrop, true},
		{localsink.VerdictDrop, false}, {localsink.VerdictReject, false}, {localsink.VerdictReject, true},
	} {
		if !c.syncAndCheck(func(s *step, v variant) {
			fe := v.frontend(localsink.KindExternalIP, 1, localsink.Route{EmptyVerdict: round.verdict})
			p := newPool()
			if round.full {
				p = newPool(v.podEndpoint(0))
			}
			s.addPort(v, "a", localsink.Port{Pools: poolList(p), Frontends: []localsink.Frontend{fe}})
			s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
		}) {
			return
		}
	}
}

func echoes(c *checker) {
	addrs := map[variant][]netip.Addr{}
	s := c.build(func(s *step, v variant) {
		for _, kind := range kinds() {
			if c.unsupported()&kindFeature(kind) != 0 {
				continue
			}
			fe := v.frontend(kind, 1)
			s.addPort(v, kind.String(), localsink.Port{Pools: onePool(v.podEndpoint(0), v.remoteEndpoint(0)), Frontends: []localsink.Frontend{fe}})
			if kind != localsink.KindNodePort { // node ports use the addresses of the node
				addrs[v] = append(addrs[v], fe.Addr.Addr())
			}
		}
	})
	if !c.sync(s.state()) {
		return
	}
	c.eachVariant(func(v variant) {
		p, err := startPinger(c, v, c.testbed.endpointClient(0), c.testbed.remoteEndpointClient(0))
		if err != nil {
			c.failf(v, "listen for echo requests: %v", err)
			return
		}
		defer p.close()
		for i, cl := range c.testbed.clientsOfEachKind() {
			if err := p.ping(cl, uint16(1000+i), addrs[v], []netip.Addr{v.podAddr(0), v.remoteAddr(0)}, v.nodeAddr()); err != nil {
				c.failf(v, "%s: %v", cl.name, err)
			}
		}
	})
}
