// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// probabilities returns with which probability each endpoint is drawn.
func probabilities(shares []share) []float64 {
	p := make([]float64, len(shares))
	for i, s := range shares {
		own := (float64(s.threshold) + 1) / (1 << 32)
		p[i] += own / float64(len(shares))
		p[s.alias] += (1 - own) / float64(len(shares))
	}
	return p
}

func TestSharesAreProportionalToWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		all := make([]localsink.Endpoint, 1+r.IntN(50))
		sum := 0.0
		for i := range all {
			all[i].Weight = 1 + r.Uint32N(1<<r.Uint32N(32))
			sum += float64(all[i].Weight)
		}
		shares := newShares(all)
		if shares == nil {
			for _, e := range all {
				require.Equal(t, all[0].Weight, e.Weight)
			}
			continue
		}
		for i, p := range probabilities(shares) {
			require.InDelta(t, float64(all[i].Weight)/sum, p, 1e-8)
		}
	}
}

func TestArenaDoesNotReuseElementsAtOnce(t *testing.T) {
	now := time.Unix(0, 0)
	a := newArena(10, func() time.Time { return now })
	first, err := a.alloc(4)
	require.NoError(t, err)
	require.NotZero(t, first)
	_, err = a.alloc(4)
	require.NoError(t, err)
	a.release(first, 4)
	_, err = a.alloc(4)
	require.ErrorIs(t, err, errFull)
	now = now.Add(reuseDelay)
	again, err := a.alloc(4)
	require.NoError(t, err)
	require.Equal(t, first, again)
	empty, err := a.alloc(0)
	require.NoError(t, err)
	require.Zero(t, empty)
	require.EqualValues(t, 8, a.inUse)
}
