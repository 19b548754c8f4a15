// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

// Digest returns a number that depends on the key and the value of an element, and on nothing
// else. elem is the content of the attribute ListElem. The sum of the digests of all elements of
// a set shows whether the set has changed.
func Digest(elem []byte) uint64 {
	h := digest(fnvOffset)
	h.add(findAttr(findAttr(elem, ElemKey), DataValue))
	data := findAttr(elem, ElemData)
	h.add(findAttr(data, DataValue))
	if verdict := findAttr(data, DataVerdict); verdict != nil {
		h.add(findAttr(verdict, VerdictCode))
		h.add(findAttr(verdict, VerdictChain))
	}
	return h.sum()
}

// A digest is an FNV-1a hash. hash/fnv needs an allocation for each.
type digest uint64

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func (h *digest) add(data []byte) {
	x := *h
	for _, b := range data {
		x = (x ^ digest(b)) * fnvPrime
	}
	*h = x
}

// sum spreads the bits, so that sums of many digests differ (the finalizer of MurmurHash3).
func (h *digest) sum() uint64 {
	x := uint64(*h)
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
