// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestNodeEqualComparesEveryField clears each field in turn: a change that Equal misses
// would never reach a sink.
func TestNodeEqualComparesEveryField(t *testing.T) {
	node := func() *localsink.Node {
		p := netip.MustParsePrefix("192.0.2.0/24")
		return &localsink.Node{
			Name: "node", IPs: []netip.Addr{p.Addr()}, NodePortAddresses: []netip.Prefix{p},
			LoopbackNodePorts: []netip.Addr{p.Addr()}, ServiceNetworks: []netip.Prefix{p}, Deleting: true,
			NoMasquerade: []netip.Prefix{p}, Extensions: localsink.NewExtensions(localsink.Extension{Key: "a"}),
			LocalPods: localsink.PodSources{Networks: []netip.Prefix{p}, Interface: "a", InterfacePrefix: "b"},
		}
	}
	require.True(t, node().Equal(node()))
	for _, part := range []func(*localsink.Node) reflect.Value{
		func(n *localsink.Node) reflect.Value { return reflect.ValueOf(n).Elem() },
		func(n *localsink.Node) reflect.Value { return reflect.ValueOf(&n.LocalPods).Elem() },
	} {
		for i := range part(node()).NumField() {
			changed := node()
			field := part(changed).Field(i)
			require.False(t, field.IsZero(), "the test sets no value for %s", part(changed).Type().Field(i).Name)
			field.SetZero()
			require.False(t, node().Equal(changed), part(changed).Type().Field(i).Name)
		}
	}
}

func TestAddressesIn(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/30"), netip.MustParsePrefix("fe80::/10")}
	var addrs, want []netip.Addr
	for _, a := range []string{"192.0.2.9", "fe80::1%eth0", "::ffff:192.0.2.7", "198.51.100.1", "192.0.2.1", "2001:db8::1", "192.0.2.9"} {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	for _, a := range []string{"192.0.2.1", "192.0.2.7", "192.0.2.9", "fe80::1%eth0"} {
		want = append(want, netip.MustParseAddr(a))
	}
	require.Equal(t, want, localsink.AddressesIn(networks, addrs))
	require.Equal(t, "198.51.100.1", addrs[3].String(), "the argument is not changed")
	require.Nil(t, localsink.AddressesIn(nil, addrs))
}
