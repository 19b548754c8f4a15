// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestLinkLocalAddressesAreNotServed: the kernel binds them with an interface only, and each pod adds one.
func TestLinkLocalAddressesAreNotServed(t *testing.T) {
	var listed []net.Addr
	for _, s := range []string{"fe80::1/64", "2001:db8::1/64", "169.254.1.1/16", "192.0.2.1/24", "192.0.2.1/32"} {
		p := netip.MustParsePrefix(s)
		listed = append(listed, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	b := &Backend{cfg: Config{InterfaceAddrs: func() ([]net.Addr, error) { return listed, nil }}}
	got, err := b.listAddresses()
	require.NoError(t, err)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("169.254.1.1"), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, got)
}
