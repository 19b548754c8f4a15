// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// weighted returns endpoints with these weights.
func weighted(weights ...uint32) []localsink.Endpoint {
	all := manyEndpoints(0, len(weights))
	for i := range all {
		all[i].Weight = weights[i]
	}
	return all
}

func TestSmallWeightsAreExact(t *testing.T) {
	for _, c := range []struct {
		weights []uint32
		want    []int
	}{
		{[]uint32{1, 2, 3}, []int{1, 2, 3}},
		{[]uint32{80, 20}, []int{4, 1}},
		{[]uint32{1 << 31, 1 << 30}, []int{2, 1}},
		{[]uint32{1, 255}, []int{1, 255}},
		{[]uint32{0, 2}, []int{1, 2}}, // 0 violates the contract
	} {
		require.Equal(t, c.want, slotCounts(weighted(c.weights...)), c.weights)
	}
}

// Large weights: each endpoint has a slot, and its share is exact to one slot unless others have
// less than one.
func TestLargeWeightsAreRounded(t *testing.T) {
	g := newGenerator(t)
	for range 500 {
		all := weighted(slices.Repeat([]uint32{1}, 2+g.IntN(700))...)
		limit := []uint32{3, 10, 1000, 1<<32 - 1}[g.IntN(4)]
		for i := range all {
			all[i].Weight = 1 + g.Uint32N(limit)
		}
		counts := slotCounts(all)
		slots, total, tiny := 0, uint64(0), 0
		for i, n := range counts {
			slots += n
			total += uint64(all[i].Weight)
		}
		for i := range counts {
			if uint64(all[i].Weight)*uint64(slots) < total {
				tiny++
			}
		}
		for i, n := range counts {
			require.Positive(t, n)
			exact := float64(all[i].Weight) * float64(slots) / float64(total)
			require.Less(t, float64(n)-exact, 1.0, "endpoint %d of weight %d", i, all[i].Weight)
			require.Less(t, exact-float64(n), 1.0+float64(tiny), "endpoint %d of weight %d", i, all[i].Weight)
		}
		if slots > maxExactSlots {
			require.Zero(t, slots%roundedSlots)
			require.GreaterOrEqual(t, slots, minSlotsPerEndpoint*len(all))
			require.Less(t, slots, max(roundedSlots+1, 2*minSlotsPerEndpoint*len(all)))
		}
	}
	all := weighted(append(slices.Repeat([]uint32{1}, 200), 1<<32-1)...)
	counts := slotCounts(all)
	require.Equal(t, 1, counts[0])
	require.Equal(t, roundedSlots-200, counts[200])
}

func TestEqualWeightsNeedNoRepetition(t *testing.T) {
	pools := []localsink.Pool{{Endpoints: weighted(7, 7, 7)}, {}}
	require.Same(t, &pools[0], &withRepeatedEndpoints(pools)[0])
	pools[1].Endpoints = weighted(1, 2)
	repeated := withRepeatedEndpoints(pools)
	require.Len(t, pools[1].Endpoints, 2, "the Service is not modified")
	require.Len(t, repeated[0].Endpoints, 3)
	require.Len(t, repeated[1].Endpoints, 3)
}

// A changed weight changes the slots that one endpoint gains and another loses, and the verdict
// if their number changes.
func TestChangedWeightWritesFewElements(t *testing.T) {
	k := newModelKernel(t)
	st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	apply := func(weights ...uint32) int {
		endpoints := weighted(weights...)
		for i := range endpoints {
			endpoints[i].Local = false
		}
		s := newService("a", localsink.Port{Pools: []localsink.Pool{{Endpoints: endpoints}}, Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, "10.96.0.1:80")}})
		before := k.ops
		st.apply([]serviceChange{{name: s.Name, desired: s}}, nil)
		k.commit(st)
		k.verify(st, slices.Values([]*localsink.Service{s}))
		return k.ops - before
	}
	apply(1, 1, 1)
	require.Zero(t, apply(5, 5, 5))
	require.Equal(t, 1+2, apply(1, 2, 1), "a slot and the verdict")
	require.Equal(t, 2, apply(2, 1, 1), "one slot is replaced")
	require.Zero(t, apply(20, 10, 10))
	require.Equal(t, 1+2, apply(1, 1, 1))
}
