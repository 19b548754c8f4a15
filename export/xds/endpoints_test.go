// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRefusedSharesAreExact checks all shares, as clients apply them: each to what the ones before leave.
func TestRefusedSharesAreExact(t *testing.T) {
	for perMille := uint32(1); perMille <= 1000; perMille++ {
		pass := 1.0
		for _, d := range dropsOf(perMille) {
			p := d.GetDropPercentage()
			denominator := map[int32]float64{0: 100, 1: 10_000}[int32(p.GetDenominator())]
			require.LessOrEqual(t, uint64(p.GetNumerator())*1_000_000, uint64(1)<<32-1)
			pass *= 1 - float64(p.GetNumerator())/denominator
		}
		require.InDelta(t, float64(perMille)/1000, 1-pass, 0.000_05, perMille)
	}
}
