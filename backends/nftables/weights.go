// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

const (
	// maxExactSlots is the number of slots up to which weights are represented exactly.
	maxExactSlots = 256
	// roundedSlots is the number of slots of pools with other weights, of which each endpoint
	// has at least one.
	roundedSlots = 1024
	// minSlotsPerEndpoint is the minimum average number of slots of an endpoint in such pools.
	minSlotsPerEndpoint = 4
)

// withRepeatedEndpoints returns the pools with each endpoint as often as its weight requires,
// so that a random slot selects it with that probability. It returns pools itself if no pool
// has different weights.
func withRepeatedEndpoints(pools []localsink.Pool) []localsink.Pool {
	cloned := false
	for i := range pools {
		endpoints := pools[i].Endpoints
		if !hasDifferentWeights(endpoints) {
			continue
		}
		if !cloned {
			pools, cloned = slices.Clone(pools), true
		}
		var repeated []localsink.Endpoint
		for j, n := range slotCounts(endpoints) {
			e := endpoints[j]
			e.Weight = 1
			repeated = append(repeated, slices.Repeat([]localsink.Endpoint{e}, n)...)
		}
		pools[i].Endpoints = repeated
	}
	return pools
}

func hasDifferentWeights(endpoints []localsink.Endpoint) bool {
	for i := range endpoints {
		if endpoints[i].Weight != endpoints[0].Weight {
			return true
		}
	}
	return false
}

// slotCounts returns the number of slots of each endpoint. If the weights, divided by their
// common divisor, have a sum of at most maxExactSlots, the numbers are these. Otherwise they are
// rounded by the largest remainder: the share of an endpoint differs by less than 1/roundedSlots
// from the exact one, unless endpoints of less than one slot get one at the cost of the others.
func slotCounts(endpoints []localsink.Endpoint) []int {
	divisor, total := uint64(0), uint64(0)
	for i := range endpoints {
		w := weightOf(endpoints[i])
		divisor, total = commonDivisor(divisor, w), total+w
	}
	counts := make([]int, len(endpoints))
	if total/divisor <= maxExactSlots {
		for i := range endpoints {
			counts[i] = int(weightOf(endpoints[i]) / divisor)
		}
		return counts
	}
	slots := roundedSlots
	for slots < minSlotsPerEndpoint*len(endpoints) {
		slots *= 2
	}
	free := slots
	remainders := make([]int64, len(endpoints)) // of the exact number, in 1/total
	order := make([]int, len(endpoints))
	for i := range endpoints {
		exact := weightOf(endpoints[i]) * uint64(slots) // below 2^32 * 2^31
		counts[i] = max(1, int(exact/total))
		remainders[i], order[i] = int64(exact)-int64(counts[i])*int64(total), i
		free -= counts[i]
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(remainders[b], remainders[a]) })
	for _, i := range order[:max(free, 0)] {
		counts[i]++
	}
	for ; free < 0; free++ {
		counts[slices.Index(counts, slices.Max(counts))]--
	}
	return counts
}

// weightOf returns the weight of an endpoint, which is at least 1.
func weightOf(e localsink.Endpoint) uint64 { return uint64(max(e.Weight, 1)) }

// commonDivisor returns the greatest common divisor.
func commonDivisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
