// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

func changeCases() []behaviour {
	all := []behaviour{
		{id: "endpoints-change", title: "endpoints that are added get connections, and those that are removed or replaced get no more", check: endpointsChange},
		{id: "pool-sizes", title: "pools of every size work, also when they grow, shrink and empty", check: poolSizes},
		{id: "service-removed", title: "of a Service that is removed nothing is left; others are not touched", check: serviceRemoved},
		{id: "service-recreated", title: "a Service that comes back under its name has its new address only", check: serviceRecreated},
		{id: "ports-renumbered", title: "a Service's ports and its endpoints' ports change their numbers", check: portsRenumbered},
		{id: "kinds-change", title: "a Service gets and loses kinds of frontends", check: kindsChange},
		{id: "address-moves", title: "an address moves from one Service to another in one update", check: addressMoves},
		{id: "many-ports", title: "the ports of one Service lead to different endpoints", check: manyPorts},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP
	}
	return all
}

// addClusterIP serves cluster IP i from endpoints.
func (s *step) addClusterIP(v variant, i int, endpoints ...localsink.Endpoint) netip.AddrPort {
	fe := v.frontend(localsink.KindClusterIP, i)
	s.addPort(v, fmt.Sprint("s", i), localsink.Port{Pools: poolList(newPool(endpoints...)), Frontends: []localsink.Frontend{fe}})
	return fe.Addr
}

func endpointsChange(c *checker) {
	for _, pick := range [][]int{{0}, {0, 1}, {1}, {2}, {2, 3, 4}, {3, 5}, {}, {5, 0, 1}} {
		if !c.syncAndCheck(func(s *step, v variant) {
			var endpoints []localsink.Endpoint
			for _, i := range pick {
				endpoints = append(endpoints, v.endpoints()[i])
			}
			to := s.addClusterIP(v, 1, endpoints...)
			for range 3 {
				s.addProbes(v, c.testbed.clientsOfEachKind(), to)
			}
		}) {
			return
		}
	}
}

// poolSizes uses the endpoints that are there over and over: by both of their ports.
func poolSizes(c *checker) {
	for _, size := range []int{1, 2, 3, 7, 8, 9, 16, 4, 1, 0, 17, 20} {
		if !c.syncAndCheck(func(s *step, v variant) {
			var endpoints []localsink.Endpoint
			for i := range podCount {
				second := v.podEndpoint(i)
				second.Addr = netip.AddrPortFrom(second.Addr.Addr(), v.otherPort())
				endpoints = append(endpoints, v.podEndpoint(i), second)
			}
			for i := range remoteCount {
				endpoints = append(endpoints, v.remoteEndpoint(i))
			}
			to := s.addClusterIP(v, 1, endpoints[:size]...)
			for range max(size, 1) {
				s.addProbes(v, []client{c.testbed.externalClient(1), c.testbed.localPodClient()}, to)
			}
		}) {
			return
		}
	}
}

// addAllKinds serves frontends of all kinds.
func (c *checker) addAllKinds(s *step, v variant, name string, i int, endpoints ...localsink.Endpoint) []netip.AddrPort {
	var fronts []localsink.Frontend
	for _, kind := range kinds() {
		if c.unsupported()&kindFeature(kind) == 0 {
			fronts = append(fronts, v.frontend(kind, i, localsink.Route{Masquerade: kind != localsink.KindClusterIP}))
		}
	}
	s.addPort(v, name, localsink.Port{Pools: poolList(newPool(endpoints...)), Frontends: fronts})
	return v.destinationsOf(fronts...)
}

func serviceRemoved(c *checker) {
	for _, there := range [][]bool{{true, true}, {false, true}, {true, true}, {true, false}, {false, false}} {
		if !c.syncAndCheck(func(s *step, v variant) {
			scratch := c.build(func(*step, variant) {})
			for i, present := range there {
				on := s
				if !present {
					on = scratch
				}
				s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(on, v, fmt.Sprint("a", i), i+1, v.podEndpoint(i), v.remoteEndpoint(i))...)
			}
		}) {
			return
		}
	}
}

func serviceRecreated(c *checker) {
	for _, i := range []int{1, 0, 2, 3, 1} {
		if !c.syncAndCheck(func(s *step, v variant) {
			scratch := c.build(func(*step, variant) {})
			for j := 1; j <= 3; j++ {
				on := scratch
				if j == i {
					on = s
				}
				s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(on, v, "same-name", j, v.podEndpoint(j))...)
			}
		}) {
			return
		}
	}
}

func portsRenumbered(c *checker) {
	for _, round := range []struct {
		front uint16
		other bool
	}{{80, false}, {81, false}, {81, true}, {80, true}, {80, false}} {
		if !c.syncAndCheck(func(s *step, v variant) {
			e := v.podEndpoint(0)
			if round.other {
				e.Addr = netip.AddrPortFrom(e.Addr.Addr(), v.otherPort())
			}
			fe := v.frontend(localsink.KindClusterIP, 1)
			fe.Addr = netip.AddrPortFrom(fe.Addr.Addr(), round.front)
			s.addPort(v, "a", localsink.Port{Pools: poolList(newPool(e)), Frontends: []localsink.Frontend{fe}})
			for _, port := range []uint16{80, 81} {
				s.addProbes(v, c.testbed.clientsOfEachKind(), netip.AddrPortFrom(fe.Addr.Addr(), port))
			}
		}) {
			return
		}
	}
}

func kindsChange(c *checker) {
	for _, bits := range []int{1, 3, 15, 9, 5, 1, 11, 15} {
		if !c.syncAndCheck(func(s *step, v variant) {
			var fronts []localsink.Frontend
			for i, kind := range kinds() {
				if c.unsupported()&kindFeature(kind) != 0 {
					continue
				}
				fe := v.frontend(kind, 1, localsink.Route{Masquerade: i > 0})
				if bits>>i&1 == 1 {
					fronts = append(fronts, fe)
				}
				s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinations(fe)...)
			}
			s.addPort(v, "a", localsink.Port{Pools: poolList(newPool(v.podEndpoint(0), v.remoteEndpoint(0))), Frontends: fronts})
		}) {
			return
		}
	}
}

func addressMoves(c *checker) {
	for _, owner := range []int{0, 1, 0, 2} {
		if !c.syncAndCheck(func(s *step, v variant) {
			for i := range 3 {
				if i != owner { // the others are there, at addresses of their own
					s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(s, v, fmt.Sprint("a", i), 10+i, v.podEndpoint(3+i))...)
				}
			}
			s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(s, v, fmt.Sprint("a", owner), 1, v.podEndpoint(owner))...)
		}) {
			return
		}
	}
}

func manyPorts(c *checker) {
	for _, shift := range []int{0, 1, 3} {
		if !c.syncAndCheck(func(s *step, v variant) {
			for i := range 5 {
				fe := v.frontend(localsink.KindClusterIP, 1)
				fe.Addr = netip.AddrPortFrom(fe.Addr.Addr(), uint16(80+i))
				s.addPort(v, "a", localsink.Port{Name: fmt.Sprint(v.protocol, i), Pools: poolList(newPool(v.podEndpoint((i + shift) % 5))), Frontends: []localsink.Frontend{fe}})
				s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
			}
		}) {
			return
		}
	}
}
