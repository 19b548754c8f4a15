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
		{id: "DP-62", title: "a TCP node port answers on loopback addresses that the node asks for", protocols: tcp, check: askedLoopback},
		{id: "DP-62-changes", title: "on loopback addresses, endpoints come and go, and connections go on", protocols: tcp, check: loopbackChanges},
		{id: "DP-62-affinity", title: "on a loopback address, a port with affinity keeps to one endpoint", protocols: tcp,
			needs: localsink.FeatureAffinity, check: loopbackAffinity},
		{id: "DP-63", title: "node ports of other protocols do not answer there", protocols: others, check: askedLoopback},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureNodePort
		all[i].loopback = true
	}
	return all
}

// asking is the node of the world when it asks for loopback addresses.
func asking(vs ...variant) *localsink.Node {
	n := worldNode()
	for _, v := range vs {
		n.LoopbackNodePorts = append(n.LoopbackNodePorts, v.loopback())
	}
	return n
}

// beginAsking tells the sink of a node that asks for both families, and no Services.
func (c *checker) beginAsking() bool {
	c.state = sinktest.NewState()
	return c.change(asking(variant{v6: false}, variant{v6: true}))
}

// askLoopback adds probes of node ports from and to the loopback address.
func (s *step) askLoopback(c *checker, v variant, fronts ...localsink.Frontend) {
	for _, fe := range fronts {
		to := netip.AddrPortFrom(v.loopback(), fe.Addr.Port())
		s.probes = append(s.probes, probe{v: v, client: c.w.nodeItself(), source: v.loopback(), to: to})
	}
}

func askedLoopback(c *checker) {
	probes := func(s *step, v variant) {
		var fronts []localsink.Frontend
		ways := threeWays()
		for i, routes := range [][]localsink.Route{
			{{}},
			{{Masquerade: true}},
			{{Pool: 1, Masquerade: true}},
			{{Pool: 2, Masquerade: true}},
			{ways[0], ways[1], {Pool: 3, EmptyVerdict: localsink.VerdictDrop}},
			{ways[0], {Pool: 2}},
			{{Pool: 3}},
			{{Pool: 3, EmptyVerdict: localsink.VerdictDrop}},
		} {
			fronts = append(fronts, v.front(localsink.KindNodePort, i+1, routes...))
		}
		s.serve(v, "a", localsink.Port{Pools: pools(pool(v.pod(0)), pool(v.pod(1), v.remote(0)), pool(v.host()), pool()), Frontends: fronts})
		s.askLoopback(c, v, fronts...)
		s.ask(v, []client{c.w.nodeItself(), c.w.external(0)}, v.dials(fronts[1])...)
		s.askLoopback(c, v, v.front(localsink.KindNodePort, 99))
	}
	if !c.step(probes) {
		return
	}
	four, six := variant{v6: false}, variant{v6: true}
	for _, n := range []*localsink.Node{asking(four, six), asking(six), asking(four), asking(), asking(four, six)} {
		if !c.change(n) {
			return
		}
		c.unchanged(probes)
	}
}

func loopbackChanges(c *checker) {
	if !c.beginAsking() {
		return
	}
	serve := func(endpoints ...int) func(s *step, v variant) {
		return func(s *step, v variant) {
			fe := v.front(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
			var all []localsink.Endpoint
			for _, i := range endpoints {
				all = append(all, v.endpoints()[i])
			}
			s.serve(v, "a", localsink.Port{Pools: pools(pool(all...)), Frontends: []localsink.Frontend{fe}})
			for range 4 {
				s.askLoopback(c, v, fe)
			}
		}
	}
	flows, ok := c.begun(serve(0, 4))
	defer closeAll(flows)
	for _, endpoints := range [][]int{{0}, {1}, {1, 4}, {}, {2}} {
		if !ok || !c.step(serve(endpoints...)) {
			return
		}
		c.alive("after the endpoints changed", flows)
	}
	if c.sync(c.plan(func(*step, variant) {}).state()) {
		c.alive("after the Service is gone", flows)
		c.try(c.plan(serve(2)).probes)
	}
}

func loopbackAffinity(c *checker) {
	if !c.beginAsking() {
		return
	}
	s := c.plan(func(s *step, v variant) {
		fe := v.front(localsink.KindNodePort, 1, localsink.Route{Masquerade: true})
		s.serve(v, "a", localsink.Port{Affinity: time.Hour, Pools: pools(pool(v.endpoints()...)), Frontends: []localsink.Frontend{fe}})
		s.askLoopback(c, v, fe)
	})
	if !c.sync(s.state()) {
		return
	}
	for _, p := range s.probes {
		first := p.ask(patience)
		for range 10 {
			if again := p.ask(patience); first.err != nil || again.err != nil || again.server != first.server {
				c.fail(p.v, "%s: first %s, then %s", p, first, again)
				break
			}
		}
	}
}
