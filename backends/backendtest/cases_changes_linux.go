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
		{id: "endpoints-change", title: "added endpoints get connections; removed and replaced endpoints get none", check: endpointsChange},
		{id: "pool-sizes", title: "pools of all sizes work, and may grow, shrink and become empty", check: poolSizes},
		{id: "service-removed", title: "a removed Service does not answer; other Services are not affected", check: serviceRemoved},
		{id: "service-recreated", title: "a Service recreated under its name answers on its new addresses only", check: serviceRecreated},
		{id: "ports-renumbered", title: "port numbers of a Service and of its endpoints may change", check: portsRenumbered},
		{id: "kinds-change", title: "a Service may gain and lose kinds of frontends", check: kindsChange},
		{id: "address-moves", title: "an address moves between Services in one update", check: addressMoves},
		{id: "many-ports", title: "the ports of one Service may have different endpoints", check: manyPorts},
	}
	for i := range all {
		all[i].needs |= localsink.FeatureClusterIP
	}
	return all
}

// addClusterIP adds a Service with cluster IP i.
func (s *step) addClusterIP(v variant, i int, endpoints ...localsink.Endpoint) netip.AddrPort {
	fe := v.frontend(localsink.KindClusterIP, i)
	s.addPort(v, fmt.Sprint("s", i), localsink.Port{Pools: onePool(endpoints...), Frontends: []localsink.Frontend{fe}})
	return fe.Addr
}

func endpointsChange(c *checker) {
	for _, indexes := range [][]int{{0}, {0, 1}, {1}, {2}, {2, 3, 4}, {3, 5}, {}, {5, 0, 1}} {
		if !c.syncAndCheck(func(s *step, v variant) {
			var endpoints []localsink.Endpoint
			for _, i := range indexes {
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

// poolSizes uses both ports of the pods, to have more endpoints.
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

// addAllKinds adds a port with a frontend of each kind that the backend supports.
func (c *checker) addAllKinds(s *step, v variant, name string, i int, endpoints ...localsink.Endpoint) []netip.AddrPort {
	var frontends []localsink.Frontend
	for _, kind := range kinds() {
		if c.unsupported()&kindFeature(kind) == 0 {
			frontends = append(frontends, v.frontend(kind, i, localsink.Route{Masquerade: kind != localsink.KindClusterIP}))
		}
	}
	s.addPort(v, name, localsink.Port{Pools: onePool(endpoints...), Frontends: frontends})
	return v.destinationsOf(frontends...)
}

func serviceRemoved(c *checker) {
	for _, states := range [][]bool{{true, true}, {false, true}, {true, true}, {true, false}, {false, false}} {
		if !c.syncAndCheck(func(s *step, v variant) {
			unused := c.build(func(*step, variant) {})
			for i, present := range states {
				target := s
				if !present {
					target = unused
				}
				s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(target, v, fmt.Sprint("a", i), i+1, v.podEndpoint(i), v.remoteEndpoint(i))...)
			}
		}) {
			return
		}
	}
}

func serviceRecreated(c *checker) {
	for _, i := range []int{1, 0, 2, 3, 1} {
		if !c.syncAndCheck(func(s *step, v variant) {
			unused := c.build(func(*step, variant) {})
			for j := 1; j <= 3; j++ {
				target := unused
				if j == i {
					target = s
				}
				s.addProbes(v, c.testbed.clientsOfEachKind(), c.addAllKinds(target, v, "same-name", j, v.podEndpoint(j))...)
			}
		}) {
			return
		}
	}
}

func portsRenumbered(c *checker) {
	for _, round := range []struct {
		port  uint16
		other bool
	}{{80, false}, {81, false}, {81, true}, {80, true}, {80, false}} {
		if !c.syncAndCheck(func(s *step, v variant) {
			e := v.podEndpoint(0)
			if round.other {
				e.Addr = netip.AddrPortFrom(e.Addr.Addr(), v.otherPort())
			}
			fe := v.frontend(localsink.KindClusterIP, 1)
			fe.Addr = netip.AddrPortFrom(fe.Addr.Addr(), round.port)
			s.addPort(v, "a", localsink.Port{Pools: onePool(e), Frontends: []localsink.Frontend{fe}})
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
			var frontends []localsink.Frontend
			for i, kind := range kinds() {
				if c.unsupported()&kindFeature(kind) != 0 {
					continue
				}
				fe := v.frontend(kind, 1, localsink.Route{Masquerade: i > 0})
				if bits>>i&1 == 1 {
					frontends = append(frontends, fe)
				}
				s.addProbes(v, c.testbed.clientsOfEachKind(), v.destinations(fe)...)
			}
			s.addPort(v, "a", localsink.Port{Pools: onePool(v.podEndpoint(0), v.remoteEndpoint(0)), Frontends: frontends})
		}) {
			return
		}
	}
}

func addressMoves(c *checker) {
	for _, owner := range []int{0, 1, 0, 2} {
		if !c.syncAndCheck(func(s *step, v variant) {
			for i := range 3 {
				if i != owner { // the other Services have their own addresses
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
				s.addPort(v, "a", localsink.Port{
					Name:      fmt.Sprint(v.protocol, i),
					Pools:     onePool(v.podEndpoint((i + shift) % 5)),
					Frontends: []localsink.Frontend{fe},
				})
				s.addProbes(v, c.testbed.clientsOfEachKind(), fe.Addr)
			}
		}) {
			return
		}
	}
}
