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
	unsupported localsink.Features    // not required by any Service
	extensions  []localsink.Extension // of which Services, endpoints and nodes have some
}

// newGenerator returns a generator of states for the sinks of a harness.
func newGenerator(seed uint64, h Harness) generator {
	extensions := []localsink.Extension{{Key: "example.com/a", Value: "1"}, {Key: "example.com/b", Value: "\xff\n"}}
	return generator{rand.New(rand.NewPCG(seed, 0)), h.Unsupported, slices.Concat(extensions, h.Extensions)}
}

// chooses reports, with a probability of 1/n, whether states have a feature. It is false for
// unsupported features.
func (g generator) chooses(f localsink.Features, n int) bool {
	return g.IntN(n) == 0 && g.unsupported&f == 0
}

func (g generator) node() *localsink.Node {
	return &localsink.Node{
		Name: "node", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.10")},
		LocalPods:         localsink.PodSources{Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/24")}},
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")},
	}
}

// nodes returns variants of the node of method node, which is the first of them. Each
// differs from the first in one of the fields that may change while a proxy runs.
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
		func(n *localsink.Node) { n.Extensions = extension("example.com/a", "1") },
	}
	if g.unsupported&localsink.FeatureNoMasquerade == 0 {
		for _, networks := range [][]netip.Prefix{
			{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.244.0.0/24"), netip.MustParsePrefix("fd00::/16")},
			{netip.MustParsePrefix("192.0.2.0/25")},
		} {
			variants = append(variants, func(n *localsink.Node) { n.NoMasquerade = networks })
		}
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

// serviceName returns the name of Service i. The last ones have other origins, and names that
// Services have too.
func serviceName(i int) localsink.ServiceName {
	if i < 8 {
		return localsink.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", i)}
	}
	return localsink.ServiceName{Namespace: "ns", Name: fmt.Sprint("svc-", i/2-4), Origin: []string{"ServiceImport", "TCPRoute"}[i%2]}
}

// service returns a random variant of Service i. Different Services have different
// addresses.
func (g generator) service(i int) *localsink.Service {
	svc := &localsink.Service{Name: serviceName(i), Extensions: g.someExtensions()}
	address := func(network string) netip.Addr { return netip.MustParseAddr(fmt.Sprint(network, i+1)) }
	port := localsink.Port{Name: "p", Protocol: []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP}[i%2]}
	if g.chooses(localsink.FeatureAffinity, 4) {
		port.Affinity = time.Duration(1+g.IntN(2)) * time.Hour
	}
	v6 := i%3 == 0
	clusterIP, unspecified, external := address("10.96.0."), netip.IPv4Unspecified(), address("198.51.100.")
	if v6 {
		clusterIP, unspecified, external = address("fd00:96::"), netip.IPv6Unspecified(), address("2001:db8::")
	}
	port.Pools = []localsink.Pool{g.pool(v6), g.pool(v6)}
	g.addConcepts(&port, v6)
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

// addConcepts adds the properties of a port that few Services have.
func (g generator) addConcepts(p *localsink.Port, v6 bool) {
	switch {
	case g.chooses(localsink.FeatureSelectionClient, 5):
		p.Selection = localsink.SelectionClient
	case g.chooses(localsink.FeatureSelectionFlow, 5):
		p.Selection = localsink.SelectionFlow
	case g.chooses(localsink.FeatureSelectionLeastConnections, 5):
		p.Selection = localsink.SelectionLeastConnections
	}
	if g.chooses(localsink.FeatureRefusedShare, 5) {
		p.RefusedPerMille = []uint16{1, 250, 1000}[g.IntN(3)]
	}
	for i := range g.IntN(3) {
		p.Draining = append(p.Draining, g.endpointAddr(v6, 100+i))
	}
	for i := range g.IntN(2) * g.IntN(4) {
		if x := g.someExtensions(); x.Len() > 0 {
			if p.EndpointExtensions == nil {
				p.EndpointExtensions = map[netip.AddrPort]localsink.Extensions{}
			}
			p.EndpointExtensions[g.endpointAddr(v6, i)] = x
		}
	}
}

// someExtensions returns a random selection of extensions, often none.
func (g generator) someExtensions() localsink.Extensions {
	var some []localsink.Extension
	for _, e := range g.extensions {
		if g.IntN(4) == 0 {
			some = append(some, e)
		}
	}
	return localsink.NewExtensions(some...)
}

// endpointAddr returns the address of endpoint i. Those with even numbers are on the node.
func (generator) endpointAddr(v6 bool, i int) netip.AddrPort {
	if v6 {
		return netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("fd00:244:%x::%x", i%2, i+1)), 8080)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(i % 2), byte(i + 1)}), 8080)
}

func (g generator) pool(v6 bool) localsink.Pool {
	var p localsink.Pool
	weighted := g.chooses(localsink.FeatureWeights, 3)
	for i := range g.IntN(2) * g.IntN(40) {
		if g.IntN(8) == 0 {
			continue
		}
		e := localsink.Endpoint{Addr: g.endpointAddr(v6, i), Local: i%2 == 0, Weight: 1}
		if weighted {
			e.Weight = uint32(1 + g.IntN(3)*g.IntN(50))
		}
		p.Endpoints = append(p.Endpoints, e)
	}
	slices.SortFunc(p.Endpoints, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return p
}

func (g generator) routes() []localsink.Route {
	var routes []localsink.Route
	for _, from := range []localsink.From{localsink.FromLocalPods, localsink.FromThisNode, localsink.FromAny} {
		if from == localsink.FromAny || g.IntN(2) == 0 {
			routes = append(routes, localsink.Route{
				From: from, Pool: g.IntN(2), Masquerade: g.IntN(2) == 0, EmptyVerdict: g.verdict(),
			})
		}
	}
	return routes
}

func (g generator) verdict() localsink.Verdict {
	if g.chooses(localsink.FeaturePass, 3) {
		return localsink.VerdictPass
	}
	return localsink.Verdict(g.IntN(2))
}
