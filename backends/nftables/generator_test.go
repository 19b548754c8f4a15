// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A generator generates random Services and changes.
type generator struct{ *rand.Rand }

func newGenerator(t testing.TB) generator {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return generator{rand.New(rand.NewPCG(seed, 0))}
}

// service returns a random Service. Services with the same i have the same name, and frontends
// from the same set.
func (g generator) service(i int) *localsink.Service {
	s := &localsink.Service{Name: localsink.ServiceName{Namespace: "test", Name: fmt.Sprintf("svc-%d", i)}}
	for p := range 1 + g.IntN(2) {
		port := localsink.Port{Protocol: []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP}[g.IntN(3)]}
		if g.IntN(3) == 0 {
			port.Affinity = time.Duration(1+g.IntN(2)) * time.Hour
		}
		if g.IntN(15) == 0 {
			port.Selection = localsink.Selection(g.IntN(4))
		}
		if g.IntN(6) == 0 {
			port.RefusedPerMille = []uint16{1, 500, 1000}[g.IntN(3)]
		}
		for _, v6 := range []bool{false, true} {
			if g.IntN(4) > 0 {
				g.family(&port, i, p, v6)
			}
		}
		s.Ports = append(s.Ports, port)
	}
	return s
}

// family adds frontends and pools of one family to a port.
func (g generator) family(port *localsink.Port, i, p int, v6 bool) {
	first := len(port.Pools)
	for range 1 + g.IntN(3) {
		port.Pools = append(port.Pools, localsink.Pool{Endpoints: g.endpoints(v6)})
	}
	addr := func(n byte) netip.Addr {
		if v6 {
			return netip.AddrFrom16([16]byte{0: 0xfd, 13: n, 14: byte(i), 15: 1})
		}
		return netip.AddrFrom4([4]byte{10, n, byte(i), 1})
	}
	for kind := localsink.KindClusterIP; kind <= localsink.KindLoadBalancer; kind++ {
		if g.IntN(3) == 0 {
			continue
		}
		fe := localsink.Frontend{Kind: kind, Addr: netip.AddrPortFrom(addr(byte(kind)), uint16(80+p))}
		if kind == localsink.KindNodePort {
			unspecified := netip.IPv4Unspecified()
			if v6 {
				unspecified = netip.IPv6Unspecified()
			}
			fe.Addr = netip.AddrPortFrom(unspecified, uint16(30000+10*i+p))
		}
		if g.IntN(4) == 0 {
			fe.SourceRanges = []netip.Prefix{}
			for range g.IntN(3) {
				fe.SourceRanges = append(fe.SourceRanges, netip.PrefixFrom(addr(byte(g.IntN(5))), 24+g.IntN(9)))
			}
		}
		for _, from := range []localsink.From{localsink.FromLocalPods, localsink.FromThisNode, localsink.FromAny} {
			if from == localsink.FromAny || g.IntN(2) == 0 {
				fe.Routes = append(fe.Routes, localsink.Route{From: from, Pool: first + g.IntN(len(port.Pools)-first),
					Masquerade: g.IntN(2) == 0, EmptyVerdict: localsink.Verdict(g.IntN(3))})
			}
		}
		port.Frontends = append(port.Frontends, fe)
	}
}

func (g generator) endpoint(v6 bool) localsink.Endpoint {
	n := byte(g.IntN(60))
	addr := netip.AddrFrom4([4]byte{10, 244, 0, n})
	if v6 {
		addr = netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x44, 15: n})
	}
	return localsink.Endpoint{Addr: netip.AddrPortFrom(addr, uint16(8080+g.IntN(2))), Local: n%3 == 0, Weight: 1}
}

// endpoints returns random endpoints, in one of six cases with different weights.
func (g generator) endpoints(v6 bool) []localsink.Endpoint {
	all := g.equalEndpoints(v6)
	if g.IntN(6) == 0 {
		g.setWeights(all)
	}
	return all
}

// equalEndpoints returns random endpoints of equal weights.
func (g generator) equalEndpoints(v6 bool) []localsink.Endpoint {
	var all []localsink.Endpoint
	for range []int{0, 1, 2, 8, 9, 16, 17, 33, 40}[g.IntN(9)] {
		all = append(all, g.endpoint(v6))
	}
	return sortEndpoints(all)
}

// setWeights gives the endpoints random weights, mostly small ones: others need many slots.
func (g generator) setWeights(all []localsink.Endpoint) {
	limit := uint32(3)
	if g.IntN(30) == 0 {
		limit = 1<<32 - 1
	}
	for i := range all {
		all[i].Weight = 1 + g.Uint32N(limit)
	}
}

func sortEndpoints(all []localsink.Endpoint) []localsink.Endpoint {
	slices.SortFunc(all, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(all, func(a, b localsink.Endpoint) bool { return a.Addr == b.Addr })
}

// modify returns a Service with some endpoints replaced, added, removed, or made local or remote.
func (g generator) modify(s *localsink.Service) *localsink.Service {
	v := &localsink.Service{Name: s.Name, Ports: slices.Clone(s.Ports)}
	for i := range v.Ports {
		switch g.IntN(14) {
		case 5:
			if v.Ports[i].Selection != localsink.SelectionRandom {
				v.Ports[i].Selection = localsink.Selection(g.IntN(4))
			}
		case 3:
			v.Ports[i].RefusedPerMille = 0
		case 4:
			v.Ports[i].RefusedPerMille = 200
		case 0:
			v.Ports[i].Affinity = 0
		case 1:
			v.Ports[i].Affinity = time.Hour
		case 2:
			v.Ports[i].Affinity = 3 * time.Hour
		}
		v.Ports[i].Pools = slices.Clone(v.Ports[i].Pools)
		for j := range v.Ports[i].Pools {
			list := slices.Clone(v.Ports[i].Pools[j].Endpoints)
			if len(list) == 0 || g.IntN(2) == 0 {
				continue
			}
			at := g.IntN(len(list))
			switch g.IntN(6) {
			case 4:
				list[at].Weight = 1 + g.Uint32N(5)
			case 5:
				g.setWeights(list)
			case 0:
				list = slices.Delete(list, at, at+1)
			case 1:
				list = append(list, g.endpoint(list[0].Addr.Addr().Is6()))
			case 2:
				list[at] = g.endpoint(list[0].Addr.Addr().Is6())
			default:
				list[at].Local = !list[at].Local
			}
			v.Ports[i].Pools[j].Endpoints = sortEndpoints(list)
		}
	}
	return v
}

// step changes some of the Services and returns their names.
func (g generator) step(all map[localsink.ServiceName]*localsink.Service) []localsink.ServiceName {
	var names []localsink.ServiceName
	for _, i := range g.Perm(12)[:1+g.IntN(4)] {
		s := g.service(i)
		if old := all[s.Name]; old != nil && g.IntN(3) > 0 {
			s = g.modify(old)
		}
		if g.IntN(5) == 0 {
			delete(all, s.Name)
		} else {
			all[s.Name] = s
		}
		names = append(names, s.Name)
	}
	return names
}

func changesOf(all map[localsink.ServiceName]*localsink.Service, names []localsink.ServiceName) []serviceChange {
	var changes []serviceChange
	for _, n := range names {
		changes = append(changes, serviceChange{name: n, desired: all[n]})
	}
	return changes
}

// values yields the Services in name order.
func values(all map[localsink.ServiceName]*localsink.Service) iter.Seq[*localsink.Service] {
	return func(yield func(*localsink.Service) bool) {
		for _, n := range slices.SortedFunc(func(y func(localsink.ServiceName) bool) {
			for n := range all {
				if !y(n) {
					return
				}
			}
		}, func(a, b localsink.ServiceName) int { return cmp.Compare(a.Name, b.Name) }) {
			if !yield(all[n]) {
				return
			}
		}
	}
}
