// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package sinktest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestTraceOfConcepts changes one property of a Service or Node at a time and traces a packet
// from 192.0.2.1 to its cluster IP.
func TestTraceOfConcepts(t *testing.T) {
	const endpoints = "10.244.0.1:8080 10.244.1.1:8080 masqueraded"
	type (
		node = *localsink.Node
		port = *localsink.Port
	)
	weights := func(p port, first, second uint32) {
		p.Pools[0].Endpoints[0].Weight, p.Pools[0].Endpoints[1].Weight = first, second
	}
	empty := func(p port, v localsink.Verdict) {
		p.Pools[0], p.Frontends[0].Routes[0].EmptyVerdict = localsink.Pool{}, v
	}
	for _, c := range []struct {
		name, want string
		change     func(n node, p port)
	}{
		{"nothing", endpoints, func(node, port) {}},
		{"equal weights", endpoints, func(_ node, p port) { weights(p, 7, 7) }},
		{"weights", "10.244.0.1:8080*1 10.244.1.1:8080*3 masqueraded", func(_ node, p port) { weights(p, 1, 3) }},
		{"by client", endpoints + " by-client", func(_ node, p port) { p.Selection = localsink.SelectionClient }},
		{"by flow", endpoints + " by-flow", func(_ node, p port) { p.Selection = localsink.SelectionFlow }},
		{"by least connections", endpoints + " by-least-connections", func(_ node, p port) { p.Selection = localsink.SelectionLeastConnections }},
		{"by client with one endpoint", "10.244.0.1:8080 masqueraded", func(_ node, p port) {
			p.Selection, p.Pools[0].Endpoints = localsink.SelectionClient, p.Pools[0].Endpoints[:1]
		}},
		{"a refused share", endpoints + " by-client refused=800", func(_ node, p port) { p.RefusedPerMille, p.Selection = 800, localsink.SelectionClient }},
		{"all refused", "rejected", func(_ node, p port) { p.RefusedPerMille = 1000 }},
		{"all refused, with affinity", endpoints + " refused=1000", func(_ node, p port) { p.RefusedPerMille, p.Affinity = 1000, time.Hour }},
		{"a refused share of an empty pool", "dropped", func(_ node, p port) {
			p.RefusedPerMille = 500
			empty(p, localsink.VerdictDrop)
		}},
		{"all refused of an empty pool", "none", func(_ node, p port) {
			p.RefusedPerMille = 1000
			empty(p, localsink.VerdictPass)
		}},
		{"pass", "none", func(_ node, p port) { empty(p, localsink.VerdictPass) }},
		{"pass in a network of Services", "none", func(n node, p port) {
			n.ServiceNetworks = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
			empty(p, localsink.VerdictPass)
		}},
		{"pass for other clients only", endpoints, func(_ node, p port) {
			p.Pools = append(p.Pools, localsink.Pool{})
			p.Frontends[0].Routes = append([]localsink.Route{{From: localsink.FromLocalPods, Pool: 1, EmptyVerdict: localsink.VerdictPass}}, p.Frontends[0].Routes...)
		}},
		{"pass for a client outside of the source ranges", "dropped", func(_ node, p port) {
			p.Frontends[0].SourceRanges = []netip.Prefix{}
			empty(p, localsink.VerdictPass)
		}},
		{"a client without masquerade", "10.244.0.1:8080 10.244.1.1:8080", func(n node, _ port) {
			n.NoMasquerade = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.0/31")}
		}},
		{"another client without masquerade", endpoints, func(n node, _ port) {
			n.NoMasquerade = []netip.Prefix{netip.MustParsePrefix("192.0.2.2/31")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, _ := newFixture(0)
			n := f.node(nil)
			svc := f.service(web(), 1, func(p *localsink.Port) { c.change(n, p) })
			p := Packet{From: netip.MustParseAddr("192.0.2.1"), To: netip.MustParseAddrPort("10.96.0.1:80"), Protocol: localsink.ProtocolTCP}
			require.NoError(t, Check(n, NewState(svc)))
			require.Equal(t, c.want, Trace(n, NewState(svc), Host{}, p).String())
		})
	}
}

// TestTraceOfLoopbackNodePorts: on loopback addresses, connections are masqueraded or rejected
// whatever the exceptions and verdicts.
func TestTraceOfLoopbackNodePorts(t *testing.T) {
	f, _ := newFixture(0)
	loopback := netip.MustParseAddr("127.0.0.1")
	n := f.node(func(n *localsink.Node) {
		n.LoopbackNodePorts, n.NoMasquerade = []netip.Addr{loopback}, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	p := Packet{From: loopback, To: netip.AddrPortFrom(loopback, 31001), Protocol: localsink.ProtocolTCP}
	trace := func(change func(p *localsink.Port)) string {
		return Trace(n, NewState(f.service(web(), 1, change)), Host{Addrs: n.LoopbackNodePorts}, p).String()
	}
	require.Equal(t, "10.244.0.1:8080 10.244.1.1:8080 masqueraded refused=5", trace(func(p *localsink.Port) { p.RefusedPerMille = 5 }))
	require.Equal(t, "rejected", trace(func(p *localsink.Port) {
		p.Pools[0] = localsink.Pool{}
		for i := range p.Frontends {
			p.Frontends[i].Routes[0].EmptyVerdict = localsink.VerdictPass
		}
	}))
}

// TestUpdatesCompareContent: a value that a sink has decoded, or an equal list of extensions
// elsewhere in memory, is no change.
func TestUpdatesCompareContent(t *testing.T) {
	f, _ := newFixture(0)
	state := func(value string) localsink.State {
		svc := f.service(web(), 1, func(p *localsink.Port) {
			p.EndpointExtensions = map[netip.AddrPort]localsink.Extensions{p.Pools[0].Endpoints[0].Addr: extension("a", value)}
		})
		svc.Extensions = extension("b", "1")
		return NewState(svc)
	}
	old := state("1")
	number := localsink.NewAccessor("b", func(value string) (string, error) { return value, nil })
	_, _, err := number.Get(old.Get(web()).Extensions)
	require.NoError(t, err)
	n := f.node(nil)
	require.Empty(t, NewUpdate(n, old, state("1")).Changed)
	require.Len(t, NewUpdate(n, old, state("2")).Changed, 1)
	r := &Recorder{}
	require.NoError(t, r.Sync(t.Context(), NewUpdate(n, nil, old)))
	require.NoError(t, r.Sync(t.Context(), NewUpdate(f.node(nil), old, state("1"))))
	require.NoError(t, r.Err())
}
