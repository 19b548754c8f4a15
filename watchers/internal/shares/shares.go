// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package shares divides the weights of groups over their members, for sources whose weights
// belong to groups of endpoints. It has no notion of what the groups are.
package shares

import "math"

// maxWeight bounds the weight of a member. A backend represents weights with far fewer steps.
const maxWeight = 1 << 16

// A Group is a number of members that share a weight equally.
type Group struct {
	Weight  uint64
	Members int
}

// Divide returns the weight of each member of each group, in the smallest integers of the
// same proportions. Proportions that need numbers above 65,536 are rounded, and no weight is
// rounded to 0. Members of a group with weight 0 have the weight 0, and groups without members
// have no share.
func Divide(groups []Group) []uint32 {
	multiple := uint64(1) // of all numbers of members; 0 if it is too large
	largest := 0.0
	for _, g := range groups {
		if g.Members > 0 && g.Weight > 0 {
			multiple = commonMultiple(multiple, uint64(g.Members))
			largest = max(largest, g.share())
		}
	}
	out := make([]uint32, len(groups))
	if multiple == 0 || largest*float64(multiple) > math.MaxUint32*maxWeight {
		return rounded(groups, largest, out)
	}
	exact := make([]uint64, len(groups))
	divisor, most := uint64(0), uint64(0)
	for i, g := range groups {
		if g.Members > 0 && g.Weight > 0 {
			exact[i] = g.Weight * (multiple / uint64(g.Members))
			divisor, most = commonDivisor(divisor, exact[i]), max(most, exact[i])
		}
	}
	if divisor > 0 && most/divisor > maxWeight {
		return rounded(groups, largest, out)
	}
	for i := range exact {
		if exact[i] > 0 {
			out[i] = uint32(exact[i] / divisor)
		}
	}
	return out
}

// share returns the weight of one member.
func (g Group) share() float64 { return float64(g.Weight) / float64(g.Members) }

// rounded sets the weights so that the largest is maxWeight.
func rounded(groups []Group, largest float64, out []uint32) []uint32 {
	for i, g := range groups {
		if g.Members > 0 && g.Weight > 0 {
			out[i] = uint32(max(1, math.Round(g.share()/largest*maxWeight)))
		}
	}
	return out
}

// commonMultiple returns the least common multiple of a and b, or 0 if it exceeds 2^32.
func commonMultiple(a, b uint64) uint64 {
	if a == 0 {
		return 0
	}
	if a = a / commonDivisor(a, b) * b; a > math.MaxUint32 {
		return 0
	}
	return a
}

func commonDivisor(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
