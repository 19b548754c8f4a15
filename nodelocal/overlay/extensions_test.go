// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package overlay

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestGroupsOfExtensions: each endpoint is in the group of its list, no two groups have equal
// lists, and the order does not depend on shared memory.
func TestGroupsOfExtensions(t *testing.T) {
	for seed := range uint64(2000) {
		g := newGenerator(seed)
		in := g.extensions()
		if g.IntN(4) == 0 && in != nil {
			in[g.addr()] = localsink.Extensions{}
		}
		groups := GroupExtensions(in)
		seen := map[netip.AddrPort]bool{}
		for i, group := range groups {
			require.NotEmpty(t, group.Endpoints)
			require.True(t, slices.IsSortedFunc(group.Endpoints, netip.AddrPort.Compare))
			for _, a := range group.Endpoints {
				require.False(t, seen[a])
				seen[a] = true
				require.True(t, in[a].Equal(group.Extensions))
			}
			for _, other := range groups[:i] {
				require.False(t, other.Extensions.Equal(group.Extensions))
				require.Negative(t, other.Endpoints[0].Compare(group.Endpoints[0]))
			}
		}
		require.Len(t, seen, len(in))
		copied := map[netip.AddrPort]localsink.Extensions{}
		for a, x := range in {
			copied[a] = localsink.NewExtensions(slices.Collect(x.All())...)
		}
		require.Len(t, GroupExtensions(copied), len(groups))
		for i, group := range GroupExtensions(copied) {
			require.Equal(t, groups[i].Endpoints, group.Endpoints)
		}
	}
}

func TestDifferentListsHaveDifferentContent(t *testing.T) {
	list := func(keysAndValues ...string) localsink.Extensions {
		var list []localsink.Extension
		for pair := range slices.Chunk(keysAndValues, 2) {
			list = append(list, localsink.Extension{Key: pair[0], Value: pair[1]})
		}
		return localsink.NewExtensions(list...)
	}
	in := map[netip.AddrPort]localsink.Extensions{}
	for i, x := range []localsink.Extensions{
		list("a", "b"), list("ab", ""), list("a", "", "b", ""), list("a", "1 b0 "), list("a", "", "b", "0 "), list("1", "1"), list("11", ""), {},
	} {
		in[netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 1)] = x
	}
	require.Len(t, GroupExtensions(in), len(in))
}
