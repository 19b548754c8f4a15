// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// udp returns a Service whose frontends and endpoints serve UDP and TCP.
func udp(name string, frontends []string, endpoints []string, draining ...string) *localsink.Service {
	p := localsink.Port{Protocol: localsink.ProtocolUDP}
	for _, f := range frontends {
		p.Frontends = append(p.Frontends, localsink.Frontend{Addr: addr(f)})
	}
	var pool localsink.Pool
	for _, e := range endpoints {
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: addr(e), Weight: 1})
	}
	p.Pools = []localsink.Pool{pool}
	for _, e := range draining {
		p.Draining = append(p.Draining, addr(e))
	}
	tcp := p
	tcp.Protocol = localsink.ProtocolTCP
	return &localsink.Service{Name: localsink.ServiceName{Name: name}, Ports: []localsink.Port{p, tcp}}
}

// passing returns svc with the verdict Pass for the clients of some frontends that have no
// endpoints. They use a pool of their own, if alone is false.
func passing(svc *localsink.Service, alone bool) *localsink.Service {
	for i := range svc.Ports {
		p := &svc.Ports[i]
		pass := localsink.Route{EmptyVerdict: localsink.VerdictPass}
		if !alone {
			p.Pools = append(p.Pools, localsink.Pool{})
			pass.From, pass.Pool = localsink.FromLocalPods, 1
		}
		for j := range p.Frontends {
			p.Frontends[j].Routes = []localsink.Route{pass, {}}
		}
	}
	return svc
}

const (
	vip, nodePort = "10.96.0.1:53", "0.0.0.0:30053"
	one, two, old = "10.0.0.1:5353", "10.0.0.2:5353", "10.0.0.9:5353"
	onNode        = "192.0.2.1:30053"
	elsewhere     = "198.51.100.1:30053"
)

// tcpOnly returns a Service without its UDP port.
func tcpOnly(svc *localsink.Service) *localsink.Service {
	svc.Ports = svc.Ports[1:]
	return svc
}

// TestStaleFlows moves from one applied state to a desired one and expects which flows
// become stale. A nil from is a restart.
func TestStaleFlows(t *testing.T) {
	s := sinktest.NewState
	frontends := []string{vip, nodePort}
	both := s(udp("dns", frontends, []string{one, two}))
	imported := udp("dns", []string{"10.96.0.9:53"}, []string{one})
	imported.Name.Origin = "ServiceImport"
	pass := s(passing(udp("dns", frontends, nil), true))
	passToPods := s(passing(udp("dns", frontends, []string{one}), false))
	for _, row := range []struct {
		id          string
		from, to    localsink.State
		destination string
		replySource string
		stale       bool
	}{
		{"CT-01 unchanged Service", both, s(udp("dns", frontends, []string{one, two}), tcpOnly(udp("web", []string{"10.96.0.9:80"}, nil))), vip, old, false},
		{"CT-03 no delta, flow began without rules", both, both, vip, vip, true},
		{"CT-03 no delta, flow to an endpoint", both, both, vip, one, false},
		{"CT-04 no delta, node port", both, both, onNode, onNode, true},
		{"no delta, one of two Services with the same address", s(udp("dns", frontends, []string{one}), udp("new", frontends, []string{two})),
			s(udp("dns", frontends, []string{one}), udp("new", frontends, []string{two})), vip, two, false},
		{"CT-09 restart keeps allowed flows", nil, both, vip, one, false},
		{"CT-09 restart removes other flows", nil, both, vip, old, true},
		{"CT-03 endpoint removed", both, s(udp("dns", frontends, []string{one})), vip, two, true},
		{"CT-03 other endpoint removed", both, s(udp("dns", frontends, []string{one})), vip, one, false},
		{"CT-02 endpoint drains", both, s(udp("dns", frontends, []string{one}, two)), vip, two, false},
		{"CT-03 endpoint changes its port", both, s(udp("dns", frontends, []string{one, "10.0.0.2:99"})), vip, two, true},
		{"CT-03 flow began before the rules", s(), both, vip, vip, true},
		{"CT-03 flow began before the first endpoint", s(udp("dns", frontends, nil)), both, vip, vip, true},
		{"CT-03 no endpoints left", both, s(udp("dns", frontends, nil)), vip, one, true},
		{"CT-04 node port, endpoint removed", both, s(udp("dns", frontends, []string{one})), onNode, two, true},
		{"CT-04 node port number on a foreign address", both, s(udp("dns", frontends, []string{one})), elsewhere, elsewhere, false},
		{"CT-04 node port, flow began before the rules", s(), both, onNode, onNode, true},
		{"CT-04 node port without endpoints, translated", both, s(udp("dns", frontends, nil)), onNode, one, true},
		{"CT-04 node port without endpoints, process of the node", both, s(udp("dns", frontends, nil)), onNode, onNode, false},
		{"CT-08 Service removed", both, s(), vip, one, true},
		{"CT-08 Service removed, not translated", both, s(), vip, vip, false},
		{"CT-08 node port removed", both, s(udp("dns", []string{vip}, []string{one, two})), onNode, one, true},
		{"address moves to another Service", both, s(udp("new", frontends, []string{two})), vip, one, true},
		{"address moves, same endpoint", both, s(udp("new", frontends, []string{two})), vip, two, false},
		{"one of two Services with the same address loses it", s(udp("dns", frontends, []string{one}), udp("new", frontends, []string{one})),
			s(udp("dns", frontends, []string{one, two}), udp("new", []string{"10.96.0.9:53"}, []string{one})), vip, one, false},
		{"CT-11 passed flow, restart", nil, pass, vip, vip, false},
		{"CT-11 passed flow to a node port, restart", nil, pass, onNode, onNode, false},
		{"CT-11 flow to an endpoint before its pool became empty", both, pass, vip, one, true},
		{"CT-11 passed flow, while the pool loses its last endpoint", both, pass, vip, vip, false},
		{"CT-11 passed flow, while the frontend stays", pass, pass, vip, vip, false},
		{"CT-11 passed flow of some clients, restart", nil, passToPods, vip, vip, false},
		{"CT-11 passed flow of some clients, node port", nil, passToPods, onNode, onNode, false},
		{"CT-11 flow of other clients to a removed endpoint", both, passToPods, vip, two, true},
		{"CT-11 flow of other clients to an endpoint", both, passToPods, vip, one, false},
		{"CT-11 passed flow gets an endpoint", pass, both, vip, vip, true},
		{"CT-11 passed flow of some clients gets an endpoint", passToPods, s(udp("dns", frontends, []string{one})), vip, vip, true},
		{"CT-11 passed flow is dropped", pass, s(udp("dns", frontends, nil)), vip, vip, true},
		{"CT-11 passed flow to a process of the node is dropped", pass, s(udp("dns", frontends, nil)), onNode, onNode, false},
		{"an object of another origin has the name", both, s(udp("dns", frontends, []string{one, two}), imported), vip, one, false},
		{"an object of another origin is removed", s(udp("dns", frontends, []string{one}), imported), s(udp("dns", frontends, []string{one})), vip, one, false},
		{"an object of another origin is removed, its flow", s(udp("dns", frontends, []string{one}), imported), s(udp("dns", frontends, []string{one})), "10.96.0.9:53", one, true},
		{"unrelated address", both, s(), "10.96.0.2:53", one, false},
	} {
		t.Run(row.id, func(t *testing.T) {
			b, node := &Backend{applied: appliedFrontends{}}, &localsink.Node{}
			if row.from != nil {
				b.applied.update(sinktest.NewUpdate(node, nil, row.from))
			}
			u := sinktest.NewUpdate(node, row.from, row.to)
			frontends := b.examined(u, len(u.Changed)+len(u.Removed) == 0 && !u.NodeChanged)
			isLocal := func(a netip.Addr) bool { return a == addr(onNode).Addr() }
			require.Equal(t, row.stale, frontends.isStale(flow{addr(row.destination), addr(row.replySource)}, isLocal, isLocal))
		})
	}
}

// TestAddedEndpointMakesNoFrontendStale: the most frequent change must not cost a dump.
func TestAddedEndpointMakesNoFrontendStale(t *testing.T) {
	applied, node := appliedFrontends{}, &localsink.Node{}
	from := sinktest.NewState(udp("dns", []string{vip}, []string{one}))
	applied.update(sinktest.NewUpdate(node, nil, from))
	require.Empty(t, applied.stale(sinktest.NewUpdate(node, from, sinktest.NewState(udp("dns", []string{vip}, []string{one, two})))))
	tcpOnly := udp("web", []string{vip}, []string{one})
	tcpOnly.Ports = tcpOnly.Ports[1:]
	require.Empty(t, appliedFrontends{}.stale(sinktest.NewUpdate(node, nil, sinktest.NewState(tcpOnly))))
}
