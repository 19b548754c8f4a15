// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A generator generates random states that obey the contract.
type generator struct {
	*rand.Rand
	unsupported localsink.Features // not required by any Service
}

func newGenerator(seed uint64, unsupported localsink.Features) generator {
	return generator{rand.New(rand.NewPCG(seed, 0)), unsupported}
}

func (g generator) node() *localsink.Node {
	return &localsink.Node{
		Name: "node", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.10")},
		LocalPods:         localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}},
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	}
}

// nodes returns variants of the node of method node, which is the first of them. Each
// differs from the others in one of the fields that may change while a proxy runs.
func (g generator) nodes() []*localsink.Node {
	variants := []func(n *localsink.Node){
		func(*localsink.Node) {},
		func(n *localsink.Node) {
			n.IPs = []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8:1::b")}
		},
		func(n *localsink.Node) {
			n.LocalPods.Networks = []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24"), netip.MustParsePrefix("fd00:244:7::/64")}
		},
		func(n *localsink.Node) { n.LocalPods = localsink.PodSources{InterfacePrefix: "veth"} },
		func(n *localsink.Node) { n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} },
		func(n *localsink.Node) {
			n.ServiceNetworks = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/112")}
		},
		func(n *localsink.Node) { n.Deleting = true },
	}
	nodes := make([]*localsink.Node, len(variants))
	for i, change := range variants {
		nodes[i] = g.node()
		change(nodes[i])
	}
	return nodes
}

// nextNode returns a random variant of the node.
func (g generator) nextNode() *localsink.Node {
	nodes := g.nodes()
	return nodes[g.IntN(len(nodes))]
}

func (g generator) state() localsink.State {
	var services []*localsink.Service
	for i := range 12 {
		if svc := g.service(i); g.IntN(4) > 0 && svc.RequiredFeatures(g.node())&g.unsupported == 0 {
			services = append(services, svc)
		}
	}
	return NewState(services...)
}

// service returns a random variant of Service i. Different Services have different
// addresses.
func (g generator) service(i int) *localsink.Service {
	svc := &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", i)}}
	address := func(network string) netip.Addr { return netip.MustParseAddr(fmt.Sprint(network, i+1)) }
	port := localsink.Port{Name: "p", Protocol: []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP}[i%2]}
	if g.unsupported&localsink.FeatureAffinity == 0 && g.IntN(4) == 0 {
		port.Affinity = time.Duration(1+g.IntN(2)) * time.Hour
	}
	v6 := i%3 == 0
	clusterIP, unspecified, external := address("10.96.0."), netip.IPv4Unspecified(), address("198.51.100.")
	if v6 {
		clusterIP, unspecified, external = address("fd00:96::"), netip.IPv6Unspecified(), address("2001:db8::")
	}
	port.Pools = []localsink.Pool{g.pool(v6), g.pool(v6)}
	add := func(kind localsink.FrontendKind, addr netip.Addr, portNumber uint16, sourceRanges []netip.Prefix) {
		port.Frontends = append(port.Frontends, localsink.Frontend{
			Kind: kind, Addr: netip.AddrPortFrom(addr, portNumber), SourceRanges: sourceRanges, Routes: g.routes(),
		})
	}
	add(localsink.KindClusterIP, clusterIP, uint16(80+g.IntN(2)), nil)
	if g.IntN(2) == 0 {
		add(localsink.KindNodePort, unspecified, uint16(30000+i), nil)
	}
	switch g.IntN(3) {
	case 0:
		add(localsink.KindExternalIP, external, 80, nil)
	case 1:
		add(localsink.KindLoadBalancer, external, 80, []netip.Prefix{netip.PrefixFrom(external, external.BitLen()-g.IntN(3)*8).Masked()})
	}
	svc.Ports = []localsink.Port{port}
	return svc
}

func (g generator) pool(v6 bool) localsink.Pool {
	var p localsink.Pool
	for i := range g.IntN(2) * g.IntN(40) {
		addr := netip.AddrFrom4([4]byte{10, 244, byte(i % 2), byte(i + 1)})
		if v6 {
			addr = netip.MustParseAddr(fmt.Sprintf("fd00:244:%x::%x", i%2, i+1))
		}
		if g.IntN(8) > 0 {
			p.Endpoints = append(p.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(addr, 8080), Local: i%2 == 0, Weight: 1})
		}
	}
	slices.SortFunc(p.Endpoints, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return p
}

func (g generator) routes() []localsink.Route {
	var routes []localsink.Route
	for _, from := range []localsink.From{localsink.FromLocalPods, localsink.FromThisNode, localsink.FromAny} {
		if from == localsink.FromAny || g.IntN(2) == 0 {
			routes = append(routes, localsink.Route{
				From: from, Pool: g.IntN(2), Masquerade: g.IntN(2) == 0, EmptyVerdict: localsink.Verdict(g.IntN(2)),
			})
		}
	}
	return routes
}
