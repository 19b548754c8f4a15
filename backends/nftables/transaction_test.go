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

// However many and however long the elements are, no message outgrows the 16 bits
// of its length.
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
			start, pieces := 0, append(append([]int{}, added.pieceEnds...), len(added.buf))
			for _, end := range pieces {
				require.LessOrEqual(t, end-start, pieceBytes)
				require.Positive(t, end-start)
				start = end
			}
			require.GreaterOrEqual(t, len(pieces), n/pieceElements)
			require.Zero(t, len(added.buf)%n, "all elements are equally long")
			require.Equal(t, len(pieces)+n/pieceElements, tx.encode().Messages())
			require.False(t, tx.empty())
			tx.reset()
			require.True(t, tx.empty())
			require.Zero(t, tx.encode().Messages())
		}
	}
}

// TestDetachedTableHasNoHooks: what is only checked is never attached to a hook.
func TestDetachedTableHasNoHooks(t *testing.T) {
	script := func(detached bool) string {
		t := transaction{family: ipv4(), table: "checked", detached: detached}
		newTableState(t.family, newNodeMatches(t.family, nil), 1, &t).sizeSets()
		return decode(t.encode())
	}
	require.Contains(t, script(false), "hook")
	require.NotContains(t, script(true), "hook")
	require.Contains(t, script(true), chainPrerouting)
}
