// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package shares_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers/internal/shares"
)

func TestWeightsBelongToGroups(t *testing.T) {
	for _, test := range []struct {
		groups []shares.Group
		want   []uint32
	}{
		{nil, []uint32{}},
		{[]shares.Group{{80, 2}, {20, 5}}, []uint32{10, 1}}, // 80/2 : 20/5
		{[]shares.Group{{1, 3}, {1, 3}}, []uint32{1, 1}},
		{[]shares.Group{{1, 2}, {1, 3}}, []uint32{3, 2}},
		{[]shares.Group{{1, 0}, {7, 3}}, []uint32{0, 1}},
		{[]shares.Group{{0, 4}, {7, 3}}, []uint32{0, 1}},
		{[]shares.Group{{0, 4}}, []uint32{0}},
		{[]shares.Group{{1_000_000, 1}, {1, 1}}, []uint32{65536, 1}},                           // rounded up to 1
		{[]shares.Group{{1_000_000, 1}, {500_000, 1}}, []uint32{2, 1}},                         // exact
		{[]shares.Group{{1, 65_537}, {1, 65_521}, {1, 65_519}}, []uint32{65518, 65534, 65536}}, // no common multiple below 2^32
		{[]shares.Group{{math.MaxUint32, 1}, {1, math.MaxInt32}}, []uint32{65536, 1}},
	} {
		require.Equal(t, test.want, shares.Divide(test.groups), "%v", test.groups)
	}
}

func FuzzDivide(f *testing.F) {
	f.Add(uint32(80), uint16(2), uint32(20), uint16(5), uint32(1), uint16(1))
	f.Add(uint32(math.MaxUint32), uint16(65521), uint32(1), uint16(65519), uint32(0), uint16(0))
	f.Fuzz(func(t *testing.T, w1 uint32, n1 uint16, w2 uint32, n2 uint16, w3 uint32, n3 uint16) {
		groups := []shares.Group{{uint64(w1), int(n1)}, {uint64(w2), int(n2)}, {uint64(w3), int(n3)}}
		got := shares.Divide(groups)
		for i, a := range groups {
			has := a.Members > 0 && a.Weight > 0
			require.Equal(t, has, got[i] > 0, "%v: %v", groups, got)
			for j, b := range groups {
				if !has || got[j] < 1000 || got[i] < 1000 { // rounding matters below
					continue
				}
				want := float64(a.Weight) / float64(a.Members) * float64(b.Members) / float64(b.Weight)
				require.InEpsilon(t, want, float64(got[i])/float64(got[j]), 0.01, "%v: %v", groups, got)
			}
		}
	})
}
