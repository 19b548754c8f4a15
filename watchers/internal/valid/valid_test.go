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
		require.False(t, usual(a, 10-family), "another family: %v", a)
		if usual(a, family) {
			require.Empty(t, addr(a)+special(a), a)
			require.False(t, family == 6 && usual(a.WithZone("x"), family), a)
		}
	}
	require.True(t, usual(netip.MustParseAddr("10.0.0.1"), 4))
	require.True(t, usual(netip.MustParseAddr("fd00::1"), 6))
	require.False(t, usual(netip.MustParseAddr("::ffff:10.0.0.1"), 6))
}
