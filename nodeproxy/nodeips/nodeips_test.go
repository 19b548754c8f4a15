// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeips

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

// fakeHost returns a host with addresses of interfaces, of its name, and by default routes.
func fakeHost(t *testing.T, interfaces, named, routes string) host {
	return host{
		interfaces: func() (out []net.Addr, err error) {
			for s := range strings.FieldsSeq(interfaces) {
				ip, network, err := net.ParseCIDR(s)
				require.NoError(t, err)
				out = append(out, &net.IPNet{IP: ip, Mask: network.Mask})
			}
			return out, nil
		},
		lookup: func(ctx context.Context, name string) (out []netip.Addr, err error) {
			require.Equal(t, "node-1", name)
			if _, bounded := ctx.Deadline(); !bounded {
				return nil, errors.New("the look-up is not bounded")
			}
			for s := range strings.FieldsSeq(named) {
				out = append(out, netip.MustParseAddr(s))
			}
			return out, nil
		},
		source: func(_ context.Context, network, _ string) (netip.Addr, error) {
			for s := range strings.FieldsSeq(routes) {
				if a := netip.MustParseAddr(s); a.Is4() == (network == "udp4") {
					return a, nil
				}
			}
			return netip.Addr{}, errors.New("network is unreachable")
		},
	}
}

func TestIN62AddressesWithoutNode(t *testing.T) {
	const local = "127.0.0.1/8 ::1/128 fe80::1/64 "
	for _, row := range []struct{ id, interfaces, named, routes, want string }{
		{"host name", local + "192.0.2.1/24 192.0.2.2/24", "192.0.2.2", "192.0.2.1", "192.0.2.2 (hostname)"},
		{"host name of both families", local + "192.0.2.1/24 2001:db8::1/64", "2001:db8::1 192.0.2.1", "", "192.0.2.1 (hostname) 2001:db8::1 (hostname)"},
		{"host name on a loopback address", local + "192.0.2.1/24 192.0.2.2/24", "127.0.1.1", "192.0.2.1", "192.0.2.1 (default route)"},
		{"host name of another machine", local + "192.0.2.1/24 192.0.2.2/24", "192.0.2.77", "192.0.2.2", "192.0.2.2 (default route)"},
		{"host name of one family", local + "192.0.2.1/24 2001:db8::1/64 2001:db8::2/64", "192.0.2.1", "2001:db8::2", "192.0.2.1 (hostname) 2001:db8::2 (default route)"},
		{"mapped address of the host name", local + "192.0.2.1/24 192.0.2.2/24", "::ffff:192.0.2.2", "", "192.0.2.2 (hostname)"},
		{"IPv6 only", local + "2001:db8::1/64 2001:db8::2/64", "", "2001:db8::1", "2001:db8::1 (default route)"},
		{"only one address", local + "192.0.2.1/24", "", "", "192.0.2.1 (only address)"},
		{"several addresses", local + "192.0.2.1/24 10.244.0.1/24", "", "", ""},
		{"no address", local, "192.0.2.1", "192.0.2.1", ""},
		{"default route by a link-local address", local + "192.0.2.1/24 2001:db8::1/64 2001:db8::2/64", "", "fe80::1", "192.0.2.1 (only address)"},
	} {
		t.Run("IN-60 IN-62 "+row.id, func(t *testing.T) {
			got, err := fakeHost(t, row.interfaces, row.named, row.routes).determine(t.Context(), "node-1")
			require.NoError(t, err)
			require.Equal(t, "["+row.want+"]", fmt.Sprint(got))
		})
	}
	broken := fakeHost(t, "", "", "")
	broken.interfaces = func() ([]net.Addr, error) { return nil, errors.New("broken") }
	_, err := broken.determine(t.Context(), "node-1")
	require.ErrorContains(t, err, "broken")
}

// TestThisHost: what is determined on the machine of the test is an address of it.
func TestThisHost(t *testing.T) {
	interfaces, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, ip := range OfHost(t.Context(), "no-such-host.invalid", nil) {
		require.Contains(t, routable(interfaces), ip)
	}
}

func TestAssume(t *testing.T) {
	store := watchers.NewStore()
	var log bytes.Buffer
	assume := func(ctx context.Context) *watchers.Node {
		k := &nodelocal.KnownNode{}
		Assume(ctx, store, "node-1", k, slog.New(slog.NewTextHandler(&log, nil)))
		return k.Last()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Nil(t, assume(ended), "the store is not synced")
	require.Empty(t, log.String())

	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	want, err := Determine(t.Context(), "node-1")
	require.NoError(t, err)
	var assumed []netip.Addr
	if last := assume(t.Context()); last != nil {
		assumed = last.IPs
	}
	require.Equal(t, ips(want), assumed)
	require.Contains(t, log.String(), `msg="Node has no known addresses`)
	require.Contains(t, log.String(), "node=node-1")
	log.Reset()

	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	})
	require.Nil(t, assume(t.Context()))
	require.Empty(t, log.String())
}
