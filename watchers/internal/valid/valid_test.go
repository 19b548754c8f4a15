// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package valid

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestUsualAddressesAreValid: the quick check accepts nothing that the complete one rejects.
func TestUsualAddressesAreValid(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for i := range 200_000 {
		var b [16]byte
		for j := range b {
			b[j] = byte(random.Uint32())
		}
		a, family := netip.AddrFrom16(b), 6
		if i%2 == 0 {
			a, family = netip.AddrFrom4([4]byte(b[:4])), 4
		}
		if got := usual(a); got != 0 {
			require.Equal(t, family, got, a)
			require.Empty(t, addr(a)+special(a), a)
			require.False(t, family == 6 && usual(a.WithZone("x")) != 0, a)
		}
	}
	require.Equal(t, 4, usual(netip.MustParseAddr("10.0.0.1")))
	require.Equal(t, 6, usual(netip.MustParseAddr("fd00::1")))
	require.Zero(t, usual(netip.MustParseAddr("::ffff:10.0.0.1")))
}

// TestRulesAreNotStricterThanTheAPI: what validation of the API server accepts is valid.
func TestRulesAreNotStricterThanTheAPI(t *testing.T) {
	for _, a := range []string{"224.0.1.1", "239.1.2.3", "255.255.255.255", "169.253.0.1", "ff05::1", "ff0e::1", "64:ff9b::1", "100::1", "::2", "fec0::1"} {
		ip := netip.MustParseAddr(a)
		family := 6
		if ip.Is4() {
			family = 4
		}
		require.Empty(t, Endpoint(ip, family)+ExternalIP(ip)+ServiceAddr(ip), a)
	}
	for _, a := range []string{"169.254.20.10", "fe80::1"} {
		ip := netip.MustParseAddr(a)
		require.Empty(t, ServiceAddr(ip)+NodeAddr(ip), "cluster IPs, load balancers and nodes may be link-local: %s", a)
		require.NotEmpty(t, ExternalIP(ip), a)
	}
	for _, a := range []string{"0.0.0.0", "127.1.2.3", "224.0.0.251", "::", "::1", "ff02::fb", "ff01::1"} {
		require.NotEmpty(t, ExternalIP(netip.MustParseAddr(a)), a)
		require.NotEmpty(t, ServiceAddr(netip.MustParseAddr(a)), a)
	}
}
