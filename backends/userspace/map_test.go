// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestIdentity: node ports are served at the permitted addresses of the node, and over TCP at
// LoopbackNodePorts.
func TestIdentity(t *testing.T) {
	node := &localsink.Node{
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("127.0.0.0/8")},
		LoopbackNodePorts: []netip.Addr{loopback(), netip.IPv6Loopback()},
	}
	f := Frontend{Node: node, NodeAddrs: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("127.0.0.2")},
		Port:     &localsink.Port{Protocol: localsink.ProtocolTCP},
		Frontend: &localsink.Frontend{Kind: localsink.KindNodePort, Addr: netip.MustParseAddrPort("0.0.0.0:30080")}}
	require.Equal(t, "[192.0.2.1:30080 127.0.0.1:30080]", fmt.Sprint(Identity(f)))
	f.Port = &localsink.Port{Protocol: localsink.ProtocolUDP}
	require.Equal(t, "[192.0.2.1:30080]", fmt.Sprint(Identity(f)))
	f.Frontend = &localsink.Frontend{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80")}
	require.Equal(t, "[10.96.0.1:80]", fmt.Sprint(Identity(f)))
}

// TestLoopbackAliases: each Service keeps an address of its own.
func TestLoopbackAliases(t *testing.T) {
	aliases, err := LoopbackAliases(netip.MustParsePrefix("127.64.0.0/24"))
	require.NoError(t, err)
	of := func(i int) []netip.AddrPort {
		svc := newService(fmt.Sprint("s", i), localsink.ProtocolTCP)
		return aliases(Frontend{Service: svc.Name, Port: &svc.Ports[0], Frontend: &svc.Ports[0].Frontends[0]})
	}
	seen := map[netip.AddrPort]bool{}
	for i := range 254 {
		all := of(i)
		require.Len(t, all, 1)
		require.False(t, seen[all[0]])
		seen[all[0]] = true
		require.EqualValues(t, 80, all[0].Port())
		require.Equal(t, all, of(i))
	}
	require.Empty(t, of(254), "the network is full")
	for _, network := range []string{"10.0.0.0/8", "127.0.0.0/25", "::1/128"} {
		_, err := LoopbackAliases(netip.MustParsePrefix(network))
		require.ErrorContains(t, err, network)
	}
}
