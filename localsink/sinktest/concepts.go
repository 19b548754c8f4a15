// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"fmt"
	"net/netip"
	"testing"

	"sigs.k8s.io/kpng/localsink"
)

// A concept is a part of the contract that few Services use, with a law of its own.
type concept struct {
	name      string
	contrasts func(f fixture, h Harness) []contrast
}

// A contrast is two desired states that differ in one concept only.
type contrast struct {
	text    string             // how b differs from a
	feature localsink.Features // required by a or b
	a, b    *desired
	differ  differ
}

// A desired is the input of a sink.
type desired struct {
	node  *localsink.Node
	state localsink.State
}

// A differ is which sinks must have different dataplanes for the two states of a contrast.
type differ uint8

const (
	// supportingDiffer: those that declare their features and have the feature. Others, such
	// as one that only removes flows, may have no place for the concept.
	supportingDiffer differ = iota
	allDiffer
	noneDiffer
)

func concepts() []concept {
	return []concept{
		{"Weights", weightContrasts},
		{"Selection", selectionContrasts},
		{"RefusedShare", refusedContrasts},
		{"Pass", passContrasts},
		{"NoMasquerade", noMasqueradeContrasts},
		{"Origin", originContrasts},
		{"Extensions", extensionContrasts},
	}
}

// check changes a sink from a to b and back for each contrast, and compares its dataplane
// with that of a new sink each time.
func (c concept) check(t *testing.T, h Harness) {
	sink, describe := h.New(t)
	declared, declares := unsupportedOf(sink)
	f, ok := newFixture(h.Unsupported | declared)
	if !ok {
		t.Skip("the sink supports no protocol, no address family or no kind of frontend")
	}
	d, checked := &Driver{Sink: sink}, false
	described := map[*desired]string{}
	describeNew := func(to *desired) string {
		if _, ok := described[to]; !ok {
			described[to] = h.describeNew(t, to)
		}
		return described[to]
	}
	for _, x := range c.contrasts(f, h) {
		if h.Unsupported&x.feature != 0 {
			continue
		}
		checked = true
		a, b := describeNew(x.a), describeNew(x.b)
		if a == b && (x.differ == allDiffer || x.differ == supportingDiffer && declares && declared&x.feature == 0) {
			t.Fatalf("%s: %s: the dataplanes are equal, although the sink does not declare that as unsupported:\n%s", c.name, x.text, a)
		}
		for _, step := range []struct {
			to   *desired
			want string
			text string
		}{{x.a, a, "before: "}, {x.b, b, ""}, {x.a, a, "and back: "}} {
			d.Node = step.to.node
			if err := d.Sync(t.Context(), step.to.state); err != nil {
				t.Fatalf("Sync: %v", err)
			}
			if got := describe(); got != step.want {
				t.Fatalf("%s: %s%s: the dataplane depends on history; want:\n%s\ngot:\n%s", c.name, step.text, x.text, step.want, got)
			}
		}
	}
	if !checked {
		t.Skip("Harness.Unsupported excludes the feature")
	}
}

// describeNew returns the description of a new dataplane after one Sync.
func (h Harness) describeNew(t *testing.T, to *desired) string {
	sink, describe := h.New(t)
	mustSync(t, sink, NewUpdate(to.node, nil, to.state))
	return describe()
}

// unsupportedOf returns the features that sink and those inside it declare as unsupported,
// and whether any of them declares its features.
func unsupportedOf(sink localsink.Sink) (unsupported localsink.Features, declares bool) {
	for s := range localsink.Walk(sink) {
		if r, ok := s.(localsink.FeatureReporter); ok {
			unsupported |= r.Unsupported()
			declares = true
		}
	}
	return unsupported, declares
}

// A fixture makes Services with what a sink supports.
type fixture struct {
	protocol localsink.Protocol
	v6       bool
	kinds    []localsink.FrontendKind
}

func newFixture(unsupported localsink.Features) (fixture, bool) {
	f := fixture{v6: unsupported&localsink.FeatureIPv4 != 0}
	if f.v6 && unsupported&localsink.FeatureIPv6 != 0 {
		return f, false
	}
	switch {
	case unsupported&localsink.FeatureTCP == 0:
		f.protocol = localsink.ProtocolTCP
	case unsupported&localsink.FeatureUDP == 0:
		f.protocol = localsink.ProtocolUDP
	case unsupported&localsink.FeatureSCTP == 0:
		f.protocol = localsink.ProtocolSCTP
	default:
		return f, false
	}
	for kind := localsink.KindClusterIP; kind <= localsink.KindLoadBalancer; kind++ {
		if unsupported&(localsink.FeatureClusterIP<<(kind-localsink.KindClusterIP)) == 0 {
			f.kinds = append(f.kinds, kind)
		}
	}
	return f, len(f.kinds) > 0
}

// addr returns the IPv4 address, or the IPv6 address that ends alike.
func (f fixture) addr(v4 string) netip.Addr {
	a := netip.MustParseAddr(v4)
	if f.v6 {
		v6 := netip.MustParseAddr("fd00::").As16()
		copy(v6[12:], a.AsSlice())
		return netip.AddrFrom16(v6)
	}
	return a
}

func (f fixture) endpoint(v4 string) netip.AddrPort { return netip.AddrPortFrom(f.addr(v4), 8080) }

func (f fixture) frontendAddr(kind localsink.FrontendKind, number uint8) netip.AddrPort {
	switch kind {
	case localsink.KindClusterIP:
		return netip.AddrPortFrom(f.addr(fmt.Sprint("10.96.0.", number)), 80)
	case localsink.KindExternalIP:
		return netip.AddrPortFrom(f.addr(fmt.Sprint("198.51.100.", number)), 80)
	case localsink.KindLoadBalancer:
		return netip.AddrPortFrom(f.addr(fmt.Sprint("203.0.113.", number)), 80)
	case localsink.KindNodePort:
	}
	if f.v6 {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), 31000+uint16(number))
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 31000+uint16(number))
}

// service returns a Service with a frontend of each kind and two endpoints, changed by
// change. Services with different numbers have different addresses.
func (f fixture) service(name localsink.ServiceName, number uint8, change func(p *localsink.Port)) *localsink.Service {
	p := localsink.Port{Name: "p", Protocol: f.protocol, Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{
		{Addr: f.endpoint("10.244.0.1"), Local: true, Weight: 1}, {Addr: f.endpoint("10.244.1.1"), Weight: 1},
	}}}}
	for _, kind := range f.kinds {
		p.Frontends = append(p.Frontends, localsink.Frontend{Kind: kind, Addr: f.frontendAddr(kind, number), Routes: []localsink.Route{{Masquerade: true}}})
	}
	if change != nil {
		change(&p)
	}
	return &localsink.Service{Name: name, Ports: []localsink.Port{p}}
}

// node returns a node, changed by change.
func (fixture) node(change func(n *localsink.Node)) *localsink.Node {
	n := generator{}.node()
	if change != nil {
		change(n)
	}
	return n
}
