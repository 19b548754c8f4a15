// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"hash/fnv"
	"math/bits"

	"sigs.k8s.io/kpng/localsink"
)

// A markedPool identifies a virtual server with a mark: a pool of a port, for connections that
// are masqueraded or not.
type markedPool struct {
	name       localsink.ServiceName
	port       string
	protocol   localsink.Protocol
	isIPv6     bool
	pool       int
	masquerade bool
}

// marks assigns marks to pools. A mark depends on the hash of its pool, so that it is the same
// after a restart; of pools with the same hash, one gets the next free mark.
type marks struct {
	bits uint32 // that a mark may have; contiguous
	used map[uint32]markedPool
	of   map[markedPool]uint32
}

func newMarks(bits uint32) *marks {
	return &marks{bits: bits, used: map[uint32]markedPool{}, of: map[markedPool]uint32{}}
}

// drop is the mark of packets to drop, which no pool has.
func (m *marks) drop() uint32 { return m.bits }

// assign returns the mark of a pool.
func (m *marks) assign(p markedPool) (uint32, error) {
	if value, ok := m.of[p]; ok {
		return value, nil
	}
	shift := bits.TrailingZeros32(m.bits)
	largest := m.bits >> shift // of the marks of pools, which are 1 to largest-1
	h := fnv.New32a()
	fmt.Fprint(h, p) // cannot fail
	for i := range largest - 1 {
		value := (h.Sum32()%(largest-1)+i)%(largest-1) + 1
		if _, taken := m.used[value<<shift]; !taken {
			m.used[value<<shift], m.of[p] = p, value<<shift
			return value << shift, nil
		}
	}
	return 0, fmt.Errorf("all %d marks of Config.ServiceMarks are in use", largest-1)
}

// release makes the mark of a pool available.
func (m *marks) release(value uint32) {
	delete(m.of, m.used[value])
	delete(m.used, value)
}
