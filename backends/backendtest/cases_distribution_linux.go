// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"sync"

	"sigs.k8s.io/kpng/localsink"
)

func choiceCases() []behaviour {
	return []behaviour{
		{id: "DP-15", title: "each endpoint of a pool is equally likely",
			needs: localsink.FeatureClusterIP, check: uniform},
		{id: "DP-01-flow", title: "all packets of a flow reach the same endpoint",
			needs: localsink.FeatureClusterIP, check: oneFlowOneEndpoint},
		{id: "protocols-apart", title: "frontends of different protocols on one address and port are independent",
			needs: localsink.FeatureClusterIP | localsink.FeatureNodePort, check: protocolsApart},
	}
}

// connectionsPerEndpoint is the expected number of connections of each endpoint.
const connectionsPerEndpoint = 40

func uniform(c *checker) {
	for _, size := range []int{6, 5, 2} { // the second and third size result from removal
		s := c.build(func(s *step, v variant) {
			fe := v.frontend(localsink.KindClusterIP, 1)
			endpoints := []localsink.Endpoint{v.podEndpoint(0), v.remoteEndpoint(0), v.podEndpoint(1), v.remoteEndpoint(1), v.podEndpoint(2), v.podEndpoint(3)}[6-size:]
			s.addPort(v, "a", localsink.Port{Pools: onePool(endpoints...), Frontends: []localsink.Frontend{fe}})
			for range connectionsPerEndpoint * size {
				s.addProbes(v, []client{c.testbed.externalClient(0)}, fe.Addr)
			}
		})
		if !c.sync(s.state()) {
			return
		}
		c.checkDistribution(fmt.Sprintf("%d endpoints", size), s.probes)
	}
}

func oneFlowOneEndpoint(c *checker) {
	s := c.build(func(s *step, v variant) {
		fe := v.frontend(localsink.KindClusterIP, 1)
		s.addPort(v, "a", localsink.Port{
			Pools:     onePool(v.podEndpoint(0), v.podEndpoint(1), v.podEndpoint(2), v.remoteEndpoint(0), v.remoteEndpoint(1)),
			Frontends: []localsink.Frontend{fe},
		})
		s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
	})
	if !c.sync(s.state()) {
		return
	}
	var wg sync.WaitGroup
	for _, p := range s.probes {
		wg.Go(func() {
			f, err := p.open(p.client.limits.Answer)
			c.count(p.variant, answer{})
			for i := 0; err == nil && i < 20; i++ {
				err = f.exchange(64)
			}
			if f != nil {
				f.close()
			}
			if err != nil {
				c.failf(p.variant, "%s: %v", p, err)
			}
		})
	}
	wg.Wait()
}

// protocolsApart adds and removes one protocol at a time. Endpoints of different protocols
// have different ports.
func protocolsApart(c *checker) {
	for round, only := range []localsink.Protocol{0, localsink.ProtocolTCP, localsink.ProtocolUDP, 0} {
		if !c.syncAndCheck(func(s *step, v variant) {
			ip, port := v.frontend(localsink.KindClusterIP, 1), v.frontend(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
			if only == 0 || v.protocol == only {
				s.addPort(v, "a", localsink.Port{Name: fmt.Sprint(v.protocol, round), Pools: poolList(newPool(v.podEndpoint(int(v.protocol) % podCount))),
					Frontends: []localsink.Frontend{ip, port}})
			}
			s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinationsOf(ip, port)...)
		}) {
			return
		}
	}
}
