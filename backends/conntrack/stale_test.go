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

func udp(name string, fronts []string, endpoints []string, retained ...string) *localsink.Service {
	p := localsink.Port{Protocol: localsink.ProtocolUDP}
	for _, f := range fronts {
		p.Frontends = append(p.Frontends, localsink.Frontend{Addr: addr(f)})
	}
	var pool localsink.Pool
	for _, e := range endpoints {
		pool.Endpoints = append(pool.Endpoints, localsink.Endpoint{Addr: addr(e)})
	}
	p.Pools = []localsink.Pool{pool}
	for _, e := range retained {
		p.Draining = append(p.Draining, addr(e))
	}
	tcp := p
	tcp.Protocol = localsink.ProtocolTCP
	return &localsink.Service{Name: localsink.ServiceName{Name: name}, Ports: []localsink.Port{p, tcp}}
}

const (
	vip, nodePort = "10.96.0.1:53", "0.0.0.0:30053"
	one, two, old = "10.0.0.1:5353", "10.0.0.2:5353", "10.0.0.9:5353"
	onNode        = "192.0.2.1:30053"
	elsewhere     = "198.51.100.1:30053"
)

// TestFlows says, step by step, which flows of a kernel's table are wrong.
func TestFlows(t *testing.T) {
	s := func(services ...*localsink.Service) localsink.State { return sinktest.NewState(services...) }
	fronts := []string{vip, nodePort}
	both := s(udp("dns", fronts, []string{one, two}))
	for _, row := range []struct {
		id       string
		from, to localsink.State
		dialled  string
		answers  string
		wrong    bool
	}{
		{"CT-01 nothing changed", both, both, vip, old, false},
		{"CT-09 restart keeps what matches", nil, both, vip, one, false},
		{"CT-09 restart removes the rest", nil, both, vip, old, true},
		{"CT-03 endpoint removed", both, s(udp("dns", fronts, []string{one})), vip, two, true},
		{"CT-03 other endpoint removed", both, s(udp("dns", fronts, []string{one})), vip, one, false},
		{"CT-02 endpoint retained", both, s(udp("dns", fronts, []string{one}, two)), vip, two, false},
		{"CT-03 endpoint renumbered", both, s(udp("dns", fronts, []string{one, "10.0.0.2:99"})), vip, two, true},
		{"CT-03 before the rules", s(), both, vip, vip, true},
		{"CT-03 before the first endpoint", s(udp("dns", fronts, nil)), both, vip, vip, true},
		{"CT-03 no endpoints left", both, s(udp("dns", fronts, nil)), vip, one, true},
		{"CT-04 node port, endpoint removed", both, s(udp("dns", fronts, []string{one})), onNode, two, true},
		{"CT-04 node port on somebody else's address", both, s(udp("dns", fronts, []string{one})), elsewhere, elsewhere, false},
		{"CT-04 node port before the rules", s(), both, onNode, onNode, true},
		{"CT-04 node port without endpoints, translated", both, s(udp("dns", fronts, nil)), onNode, one, true},
		{"CT-04 node port without endpoints, own program", both, s(udp("dns", fronts, nil)), onNode, onNode, false},
		{"CT-08 Service removed", both, s(), vip, one, true},
		{"CT-08 Service removed, not translated", both, s(), vip, vip, false},
		{"CT-08 node port removed", both, s(udp("dns", []string{vip}, []string{one, two})), onNode, one, true},
		{"address moves to another Service", both, s(udp("new", fronts, []string{two})), vip, one, true},
		{"address moves, same endpoint", both, s(udp("new", fronts, []string{two})), vip, two, false},
		{"of two that claim an address one is removed", s(udp("dns", fronts, []string{one}), udp("new", fronts, []string{one})),
			s(udp("dns", fronts, []string{one, two}), udp("new", []string{"10.96.0.9:53"}, []string{one})), vip, one, false},
		{"another address", both, s(), "10.96.0.2:53", one, false},
	} {
		t.Run(row.id, func(t *testing.T) {
			l, node := acknowledged{}, &localsink.Node{}
			if row.from != nil {
				l.update(sinktest.NewUpdate(node, nil, row.from))
			}
			from := row.from
			suspects := l.stale(sinktest.NewUpdate(node, from, row.to))
			local := func(a netip.Addr) bool { return a == addr(onNode).Addr() }
			require.Equal(t, row.wrong, suspects.isStale(flow{addr(row.dialled), addr(row.answers)}, local))
		})
	}
}

// TestOneEndpointMoreReadsNoTable: the usual change must not cost a dump.
func TestOneEndpointMoreReadsNoTable(t *testing.T) {
	l, node := acknowledged{}, &localsink.Node{}
	from := sinktest.NewState(udp("dns", []string{vip}, []string{one}))
	l.update(sinktest.NewUpdate(node, nil, from))
	require.Empty(t, l.stale(sinktest.NewUpdate(node, from, sinktest.NewState(udp("dns", []string{vip}, []string{one, two})))))
	tcpOnly := udp("web", []string{vip}, []string{one})
	tcpOnly.Ports = tcpOnly.Ports[1:]
	require.Empty(t, acknowledged{}.stale(sinktest.NewUpdate(node, nil, sinktest.NewState(tcpOnly))))
}
