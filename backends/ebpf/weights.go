// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"math/bits"

	"sigs.k8s.io/kpng/localsink"
)

// always is the threshold of a slot that has no alias.
const always = 1<<32 - 1

// A share is how the program draws one of the slots of a pool: it selects a slot at random, and
// keeps it if a random number of 32 bits is at most threshold; otherwise it takes the alias.
type share struct{ threshold, alias uint32 }

// newShares returns the shares for the weights of endpoints, with Vose's alias method: the draw
// takes the same time whatever the weights are, and no endpoint needs more than one slot. It
// returns nil if all weights are equal.
func newShares(endpoints []localsink.Endpoint) []share {
	n := uint64(len(endpoints))
	equal, sum := true, uint64(0)
	for _, e := range endpoints {
		equal = equal && e.Weight == endpoints[0].Weight
		sum += uint64(e.Weight)
	}
	if equal || sum == 0 {
		return nil
	}
	// scaled[i] is the share of an endpoint in relation to 1/n of the sum; sum stands for 1.
	// It is less than 2^32 * n, so no product below exceeds 64 bits for up to 2^31 endpoints.
	scaled := make([]uint64, n)
	var small, large []uint32
	for i, e := range endpoints {
		scaled[i] = uint64(e.Weight) * n
		if scaled[i] < sum {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
	}
	shares := make([]share, n)
	for i := range shares {
		shares[i] = share{always, uint32(i)}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		shares[s] = share{threshold(scaled[s], sum), l}
		scaled[l] -= sum - scaled[s]
		if scaled[l] < sum {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	return shares
}

// threshold returns part/whole of 2^32, less one: the largest number that selects the slot
// itself. part is less than whole.
func threshold(part, whole uint64) uint32 {
	high, low := bits.Mul64(part, 1<<32)
	q, _ := bits.Div64(high, low, whole)
	return uint32(max(q, 1) - 1)
}
