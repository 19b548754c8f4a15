// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestFrontendViolation(t *testing.T) {
	for _, test := range []struct {
		want   string
		change func(*localsink.Port, *localsink.Frontend)
	}{
		{"", func(*localsink.Port, *localsink.Frontend) {}},
		{"protocol number 9 is not TCP, UDP or SCTP", func(p *localsink.Port, _ *localsink.Frontend) { p.Protocol = 9 }},
		{"port 0 is out of range 1-65535", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Addr = netip.MustParseAddrPort("10.96.0.1:0") }},
		{"the address of a node port must be unspecified", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Kind = localsink.KindNodePort }},
		{"the address must not be unspecified", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Addr = netip.MustParseAddrPort("[::]:80") }},
		{"routes must not be empty", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Routes = nil }},
		{"routes[1].pool: 1 is out of range [0,1)", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Routes[1].Pool = 1 }},
		{"routes[0].pool: -1 is out of range [0,1)", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Routes[0].Pool = -1 }},
		{"routes[0].emptyVerdict: unknown verdict 200", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Routes[0].EmptyVerdict = 200 }},
		{"routes[1].from: unknown kind of client 200", func(_ *localsink.Port, fe *localsink.Frontend) { fe.Routes[1].From = 200 }},
	} {
		p := &localsink.Port{Protocol: localsink.ProtocolTCP, Pools: make([]localsink.Pool, 1)}
		fe := &localsink.Frontend{
			Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"),
			Routes: []localsink.Route{{From: localsink.FromLocalPods}, {}},
		}
		test.change(p, fe)
		require.Equal(t, test.want, FrontendViolation(p, fe))
	}
}

func TestTouchedServices(t *testing.T) {
	service := func(name string) *localsink.Service {
		return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: name}}
	}
	u := &localsink.Update{Changed: []*localsink.Service{service("b")}, Removed: []*localsink.Service{service("c"), service("a")}}
	var names []string
	for _, n := range TouchedServices(u) {
		names = append(names, n.Name)
	}
	require.Equal(t, []string{"c", "a", "b"}, names)
}
