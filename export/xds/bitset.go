// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"iter"
	"math/bits"
)

// A bitset is a set of identifiers of entries. Its zero value is empty.
type bitset struct {
	words []uint64
	count int
}

func (b *bitset) has(id uint32) bool {
	w := int(id / 64)
	return w < len(b.words) && b.words[w]&(1<<(id%64)) != 0
}

// add adds id and reports whether it was absent.
func (b *bitset) add(id uint32) bool {
	if b.has(id) {
		return false
	}
	w := int(id / 64)
	if w >= len(b.words) {
		b.words = append(b.words, make([]uint64, w+1-len(b.words))...)
	}
	b.words[w] |= 1 << (id % 64)
	b.count++
	return true
}

// remove removes id and reports whether it was present.
func (b *bitset) remove(id uint32) bool {
	if !b.has(id) {
		return false
	}
	b.words[id/64] &^= 1 << (id % 64)
	b.count--
	return true
}

// all yields the identifiers in ascending order. The loop may remove the one that it has.
func (b *bitset) all() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		if b.count == 0 {
			return
		}
		for i, w := range b.words {
			for ; w != 0; w &= w - 1 {
				if !yield(uint32(i*64 + bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}
