// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// The length of a message's element list must fit into 16 bits.
func TestElementsAreSplitIntoMessages(t *testing.T) {
	for _, f := range families() {
		for kind := verdictsByAddress; kind <= affinityEntries; kind++ {
			s := &set{name: "s", kind: kind}
			tx := &transaction{family: f, table: "t"}
			addr := netip.AddrPortFrom(f.loopback.Addr(), 80)
			const n = 5000
			for i := range n {
				e := element{key: frontendKey{addr, localsink.ProtocolTCP}, slot: uint32(i), target: uint32(i), value: addr, expires: time.Minute, chain: "a-chain-with-a-name-of-a-hundred-bytes-or-so-0123456789012345678901234567890123456789012345678901234567890123456789"}
				tx.add(s, e)
				tx.remove(s, e)
			}
			added := &tx.pending[0].added
			pieces := 0
			for piece := range added.all {
				pieces++
				require.LessOrEqual(t, len(piece), pieceBytes)
				require.NotEmpty(t, piece)
			}
			require.GreaterOrEqual(t, pieces, n/pieceElements)
			require.Zero(t, added.size()%n, "all elements have the same length")
			require.Equal(t, pieces+n/pieceElements, tx.encode().Messages())
			require.False(t, tx.empty())
			tx.reset()
			require.True(t, tx.empty())
			require.Zero(t, tx.encode().Messages())
		}
	}
}

func TestDetachedTableHasNoHooks(t *testing.T) {
	encoded := func(detached bool) string {
		t := transaction{family: ipv4(), table: "checked", detached: detached}
		newTableState(t.family, newNodeMatches(t.family, nil), Config{MasqueradeMark: 1}, &t).sizeSets()
		return decode(t.encode())
	}
	require.Contains(t, encoded(false), "hook")
	require.NotContains(t, encoded(true), "hook")
	require.Contains(t, encoded(true), chainPrerouting)
}
