// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package consistent

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// A test of backends/nftables compares these functions with the kernel.
func TestHashIsTheSameInAllVersions(t *testing.T) {
	t.Parallel()
	require.Equal(t, "0x810e480d", fmt.Sprintf("%#x", HashClient(netip.MustParseAddr("192.0.2.1"))))
	require.Equal(t, "0xebb9e1bf", fmt.Sprintf("%#x", HashFlow(netip.MustParseAddrPort("192.0.2.1:40000"))))
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return // the kernel's hash of longer keys depends on the byte order
	}
	require.Equal(t, "0x8ccdf6b8", fmt.Sprintf("%#x", HashClient(netip.MustParseAddr("2001:db8::1"))))
	require.Equal(t, "0x9abe1649", fmt.Sprintf("%#x", HashFlow(netip.MustParseAddrPort("[2001:db8::1]:40000"))))
}

func TestHashUsesAllBytes(t *testing.T) {
	t.Parallel()
	key := make([]byte, 40)
	seen := map[uint32]int{}
	for size := range key {
		h := Hash(key[:size], 1)
		require.NotContains(t, seen, h)
		seen[h] = size
		for i := range size {
			key[i] = 1
			require.NotEqual(t, h, Hash(key[:size], 1), "byte %d of %d", i, size)
			key[i] = 0
		}
		if size > 0 {
			require.NotEqual(t, h, Hash(key[:size], 2))
		}
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	client := netip.MustParseAddrPort("[2001:db8::1]:40000")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		HashClient(client.Addr())
		HashFlow(client)
	}))
}

func BenchmarkHash(b *testing.B) {
	client := netip.MustParseAddrPort("192.0.2.1:40000")
	b.ReportAllocs()
	for b.Loop() {
		HashFlow(client)
	}
}
