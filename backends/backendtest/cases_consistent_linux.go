// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"math"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

func consistentCases() []behaviour {
	const ip, byClient, byFlow = localsink.FeatureClusterIP, localsink.FeatureSelectionClient, localsink.FeatureSelectionFlow
	return []behaviour{
		{id: "DP-17", title: "with selection by client, a client address has the same endpoint on two nodes",
			needs: ip | byClient, twoNodes: true, check: sameEndpointOnTwoNodes},
		{id: "DP-17-algorithm", title: "with selection by client, clients have the endpoints that package consistent determines",
			needs: ip | byClient, check: clientsOfAlgorithm},
		{id: "DP-17-removal", title: "with selection by client, few clients move when an endpoint is removed, and return with it",
			needs: ip | byClient, check: clientsMoveOnRemoval},
		{id: "DP-17-weights", title: "with selection by client, endpoints get clients in proportion to their weights",
			needs: ip | byClient | localsink.FeatureWeights, check: clientsByWeight},
		{id: "DP-17-affinity", title: "session affinity takes precedence over selection by client",
			needs: ip | byClient | localsink.FeatureAffinity, check: affinityBeforeSelection},
		{id: "DP-17-change", title: "a changed selection takes effect",
			needs: ip | byClient, check: selectionChanges},
		{id: "DP-18", title: "with selection by flow, a client address and port has the same endpoint on two nodes",
			needs: ip | byFlow, twoNodes: true, check: sameEndpointOfFlow},
		{id: "DP-18-algorithm", title: "with selection by flow, flows have the endpoints that package consistent determines",
			needs: ip | byFlow, check: flowsOfAlgorithm},
		{id: "DP-18-removal", title: "with selection by flow, few flows move when an endpoint is missing on a node",
			needs: ip | byFlow, twoNodes: true, check: flowsMoveOnRemoval},
	}
}

// A mapping holds the endpoint of each client. The port is 0 if only the address counts.
type mapping map[mappedClient]netip.AddrPort

type mappedClient struct {
	v      variant
	client netip.AddrPort
}

// ofVariant returns the part of m about one variant.
func (m mapping) ofVariant(v variant) mapping {
	part := mapping{}
	for k, e := range m {
		if k.v == v {
			part[k] = e
		}
	}
	return part
}

// servers returns the number of clients of each endpoint.
func (m mapping) servers() map[netip.AddrPort]int {
	count := map[netip.AddrPort]int{}
	for _, e := range m {
		count[e]++
	}
	return count
}

// syncSelection syncs a Service whose port is changed by change.
func (c *checker) syncSelection(selection localsink.Selection, endpoints func(v variant) []localsink.Endpoint, change func(p *localsink.Port)) bool {
	return c.sync(c.build(func(s *step, v variant) {
		p := localsink.Port{Selection: selection, Pools: onePool(endpoints(v)...), Frontends: c.supportedFrontends(v)}
		if change != nil {
			change(&p)
		}
		s.addPort(v, "a", p)
	}).state())
}

// fourEndpoints returns endpoints on both nodes of a testbed.
func fourEndpoints(v variant) []localsink.Endpoint { return v.weighted(1, 1, 1, 1) }

// threeEndpoints returns all but one of them.
func threeEndpoints(v variant) []localsink.Endpoint { return fourEndpoints(v)[1:] }

// mapClients connects from the first n of many client addresses to the destinations, and
// returns the endpoint of each client. If a client reaches several endpoints, that is a
// failure.
func (c *checker) mapClients(n func(v variant) int, destinations func(v variant) []netip.AddrPort) mapping {
	s := c.build(func(s *step, v variant) {
		for i := range n(v) {
			for _, to := range destinations(v) {
				s.probes = append(s.probes, probe{variant: v, client: c.testbed.externalClient(0), source: v.manyClientAddr(i), to: to})
			}
		}
	})
	return c.mapProbes(s.probes, func(p probe) netip.AddrPort { return netip.AddrPortFrom(p.from(), 0) })
}

// mapFlows is mapClients for n flows, of which a client has 20. All have different source
// ports, because sockets for SCTP are distinguished by these.
func (c *checker) mapFlows(n func(v variant) int) mapping {
	s := c.build(func(s *step, v variant) {
		for i := range n(v) {
			s.probes = append(s.probes, probe{
				variant: v, client: c.testbed.externalClient(0), source: v.manyClientAddr(i / 20), port: uint16(20000 + i), to: clusterAddr(v),
			})
		}
	})
	return c.mapProbes(s.probes, func(p probe) netip.AddrPort { return netip.AddrPortFrom(p.from(), p.port) })
}

func (c *checker) mapProbes(probes []probe, key func(p probe) netip.AddrPort) mapping {
	m := mapping{}
	for i, a := range c.run(probes) {
		p := probes[i]
		if mismatch := c.mismatch(p, a); mismatch != "" {
			c.failf(p.variant, "%s: expected %s, observed: %s", p, c.expectation(p), mismatch)
			continue
		}
		k := mappedClient{p.variant, key(p)}
		if before, known := m[k]; known && before != a.server {
			c.failf(p.variant, "%s reached %s, and before that %s", p, a.server, before)
		}
		m[k] = a.server
	}
	return m
}

// checkEqual checks that two mappings are equal.
func (c *checker) checkEqual(when string, want, got mapping) {
	for k, e := range want {
		if other, known := got[k]; known && other != e {
			c.failf(k.v, "%s: client %s reached %s, expected %s", when, k.client, other, e)
		}
	}
}

// byAlgorithm returns the endpoints that package consistent determines for the clients of m.
func (c *checker) byAlgorithm(m mapping, endpoints func(v variant) []localsink.Endpoint, hash func(client netip.AddrPort) uint32) mapping {
	want := mapping{}
	for _, v := range c.variants {
		var list []consistent.Endpoint
		for _, e := range endpoints(v) {
			list = append(list, consistent.Endpoint{Addr: e.Addr, Weight: e.Weight})
		}
		table := consistent.NewTable(list)
		for k := range m.ofVariant(v) {
			want[k] = list[table[table.Slot(hash(k.client))]].Addr
		}
	}
	return want
}

// checkSpread checks that each endpoint has its share of the clients, plus or minus a quarter
// of it and an allowance for the choice of clients: four times the standard deviation.
func (c *checker) checkSpread(m mapping, endpoints func(v variant) []localsink.Endpoint) {
	for _, v := range c.variants {
		part, sum := m.ofVariant(v), 0.0
		for _, e := range endpoints(v) {
			sum += float64(e.Weight)
		}
		servers := part.servers()
		for _, e := range endpoints(v) {
			share := float64(e.Weight) / sum
			want := float64(len(part)) * share
			if d := math.Abs(float64(servers[e.Addr]) - want); d > want/4+4*math.Sqrt(want*(1-share)) {
				c.failf(v, "%d of %d clients reached %s, expected about %.0f", servers[e.Addr], len(part), e.Addr, want)
			}
		}
	}
}

// checkMovedClients checks that of the clients in before, at most those of the removed endpoint,
// and a hundredth of all, have another endpoint in after.
func (c *checker) checkMovedClients(before, after mapping, removed func(v variant) netip.AddrPort) {
	for _, v := range c.variants {
		n, without, others := 0.0, 0.0, 0.0
		for k, e := range before.ofVariant(v) {
			n++
			if e == removed(v) {
				without++
			} else if after[k] != e {
				others++
			}
		}
		// The promise is about all clients; these are a sample. The allowance is four times the
		// standard deviation.
		share := float64(1)/float64(len(fourEndpoints(v))) + 0.01
		if limit := n*0.01 + 4*math.Sqrt(n*0.01); others > limit {
			c.failf(v, "%.0f of %.0f clients of the remaining endpoints moved, expected at most %.0f", others, n, limit)
		}
		if limit := n*share + 4*math.Sqrt(n*share*(1-share)); without+others > limit {
			c.failf(v, "%.0f of %.0f clients moved, expected at most %.0f", without+others, n, limit)
		}
		c.notef("%s: %.0f of %.0f clients had the removed endpoint, %.0f others moved", v, without, n, others)
	}
}

// fewClients and manyClientsOf are how many clients a mapping has.
func fewClients(variant) int { return 40 }

func manyClientsOf(v variant) int {
	if v.protocol == localsink.ProtocolTCP {
		return 1000
	}
	return 200
}

func oneDestination(v variant) []netip.AddrPort { return []netip.AddrPort{clusterAddr(v)} }

func sameEndpointOnTwoNodes(c *checker) {
	if !c.syncSelection(localsink.SelectionClient, fourEndpoints, nil) || !c.peer.syncSelection(localsink.SelectionClient, fourEndpoints, nil) {
		return
	}
	everywhere := func(v variant) []netip.AddrPort {
		return append(v.destinationsOf(c.supportedFrontends(v)...), clusterAddr(v))
	}
	one := c.mapClients(fewClients, everywhere)
	c.checkEqual("on two nodes", one, c.peer.mapClients(fewClients, oneDestination))
	c.checkSpread(one, fourEndpoints)
}

// weightedEndpoints returns endpoints with weights, if the backend supports them.
func (c *checker) weightedEndpoints(v variant) []localsink.Endpoint {
	if c.unsupported()&localsink.FeatureWeights != 0 {
		return fourEndpoints(v)
	}
	return v.weighted(2, 1, 5, 3)
}

func clientsOfAlgorithm(c *checker) {
	if c.syncSelection(localsink.SelectionClient, c.weightedEndpoints, nil) {
		m := c.mapClients(fewClients, oneDestination)
		hash := func(client netip.AddrPort) uint32 { return consistent.HashClient(client.Addr()) }
		c.checkEqual("other than by the algorithm", c.byAlgorithm(m, c.weightedEndpoints, hash), m)
	}
}

func flowsOfAlgorithm(c *checker) {
	if c.syncSelection(localsink.SelectionFlow, c.weightedEndpoints, nil) {
		m := c.mapFlows(fewClients)
		c.checkEqual("other than by the algorithm", c.byAlgorithm(m, c.weightedEndpoints, consistent.HashFlow), m)
	}
}

func clientsMoveOnRemoval(c *checker) {
	removed := func(v variant) netip.AddrPort { return fourEndpoints(v)[0].Addr }
	if !c.syncSelection(localsink.SelectionClient, fourEndpoints, nil) {
		return
	}
	before := c.mapClients(manyClientsOf, oneDestination)
	c.checkSpread(before, fourEndpoints)
	if !c.syncSelection(localsink.SelectionClient, threeEndpoints, nil) {
		return
	}
	after := c.mapClients(manyClientsOf, oneDestination)
	c.checkSpread(after, threeEndpoints)
	c.checkMovedClients(before, after, removed)
	if c.syncSelection(localsink.SelectionClient, fourEndpoints, nil) {
		c.checkEqual("after the endpoint was added again", before, c.mapClients(fewClients, oneDestination))
	}
}

func clientsByWeight(c *checker) {
	for _, weights := range [][]uint32{{1, 1, 1, 9}, {9, 1, 1, 1}} {
		endpoints := func(v variant) []localsink.Endpoint { return v.weighted(weights...) }
		if !c.syncSelection(localsink.SelectionClient, endpoints, nil) {
			return
		}
		c.checkSpread(c.mapClients(func(variant) int { return 200 }, oneDestination), endpoints)
	}
}

func affinityBeforeSelection(c *checker) {
	withAffinity := func(p *localsink.Port) { p.Affinity = longAffinity }
	if !c.syncSelection(localsink.SelectionClient, threeEndpoints, withAffinity) {
		return
	}
	before := c.mapClients(fewClients, oneDestination)
	if c.syncSelection(localsink.SelectionClient, fourEndpoints, withAffinity) {
		c.checkEqual("after an endpoint was added", before, c.mapClients(fewClients, oneDestination))
	}
}

// selectionChanges turns selection by client on, off and on again.
func selectionChanges(c *checker) {
	twice := func(v variant) []netip.AddrPort { return append(oneDestination(v), clusterAddr(v)) }
	if !c.syncSelection(localsink.SelectionClient, fourEndpoints, nil) {
		return
	}
	before := c.mapClients(fewClients, twice)
	if !c.syncSelection(localsink.SelectionRandom, fourEndpoints, nil) {
		return
	}
	random := c.mapClients(fewClients, oneDestination)
	for _, v := range c.variants {
		differs := false
		for k, e := range random.ofVariant(v) {
			differs = differs || before[k] != e
		}
		if !differs {
			c.failf(v, "after the selection became random: all clients reached the same endpoints, expected other choices")
		}
	}
	if c.syncSelection(localsink.SelectionClient, fourEndpoints, nil) {
		c.checkEqual("after the selection was by client again", before, c.mapClients(fewClients, twice))
	}
}

func sameEndpointOfFlow(c *checker) {
	if !c.syncSelection(localsink.SelectionFlow, fourEndpoints, nil) || !c.peer.syncSelection(localsink.SelectionFlow, fourEndpoints, nil) {
		return
	}
	flows := func(variant) int { return 200 }
	one := c.mapFlows(flows)
	c.checkEqual("on two nodes", one, c.peer.mapFlows(flows))
	c.checkSpread(one, fourEndpoints)
	servers := map[mappedClient]map[netip.AddrPort]bool{}
	for k, e := range one {
		k.client = netip.AddrPortFrom(k.client.Addr(), 0)
		if servers[k] == nil {
			servers[k] = map[netip.AddrPort]bool{}
		}
		servers[k][e] = true
	}
	for k, reached := range servers {
		if len(reached) < 2 {
			c.failf(k.v, "all flows of client %s reached the same endpoint", k.client.Addr())
		}
	}
}

func flowsMoveOnRemoval(c *checker) {
	if !c.syncSelection(localsink.SelectionFlow, fourEndpoints, nil) || !c.peer.syncSelection(localsink.SelectionFlow, threeEndpoints, nil) {
		return
	}
	before, after := c.mapFlows(manyClientsOf), c.peer.mapFlows(manyClientsOf)
	c.checkMovedClients(before, after, func(v variant) netip.AddrPort { return fourEndpoints(v)[0].Addr })
}
