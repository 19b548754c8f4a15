// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package consistent

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// An Endpoint is an endpoint with its weight.
type Endpoint struct {
	Addr netip.AddrPort
	// Weight is proportional to the number of clients. Zero means none.
	Weight uint32
}

// A Table maps the slots, into which the values of the hash are divided, to endpoints: the
// index of an endpoint in the list from which [NewTable] made the table.
type Table []uint32

// Slot returns the slot of a hash, as "jhash ... mod len(t)" of nftables computes it. The
// table must not be empty.
func (t Table) Slot(hash uint32) int { return int(uint64(hash) * uint64(len(t)) >> 32) }

const (
	// cells is the number of slots of the smallest table, a prime.
	cells = 8191
	// branching is the factor between the sizes of tables.
	branching = 4
	// smallSize is the number of endpoints that the smallest table is for.
	smallSize = 128
	// maxLevel is the number of larger sizes.
	maxLevel = 2
	// marginDivisor is the divisor of the size that limits the margin of an endpoint.
	marginDivisor = 160
)

// Size returns the number of slots of a table for n endpoints with a weight.
func Size(n int) int {
	if n < 2 {
		return n
	}
	level, _ := levelOf(n)
	return cells << (2 * level) // branching to the power of level
}

// levelOf returns the level of the table for n endpoints, and the number of endpoints above which
// this level begins.
func levelOf(n int) (level, from int) {
	from = smallSize
	for limit := smallSize; level < maxLevel && limit < n; limit *= branching {
		level++
		from = limit
	}
	return level, from
}

// NewTable distributes slots to endpoints of distinct addresses. The table has no slot if no
// endpoint has a weight.
func NewTable(endpoints []Endpoint) Table {
	f := newFiller(endpoints)
	switch len(f.owners) {
	case 0:
		return nil
	case 1:
		return Table{f.owners[0].index}
	}
	if f.equalWeights() {
		f.fillInTurns()
	} else {
		f.fillByTime()
	}
	return f.table
}

// A filler fills a table. The table consists of layers of cells: the slot s is the cell
// s/layers in the layer s%layers. At level 0 there is one layer. At other levels, the layers
// are four times as many as at the level below. There, the four slots that were one slot of
// the level below are one unit, with one endpoint, unless the unit is split.
type filler struct {
	table   Table
	owners  []owner
	free    int
	level   int
	layers  int
	split   []bool // by unit
	inverse [cells]uint16
}

// An owner is an endpoint with a weight, and its progress.
type owner struct {
	index  uint32 // in the caller's list
	weight uint32
	hash   uint64
	limit  int // of slots
	slots  int
	turn   int // how many cells of each permutation have been tried
	// orders holds the permutations of all layers, followed by those of the level below.
	orders []order
}

const unowned = 1<<32 - 1

func newFiller(endpoints []Endpoint) *filler {
	f := &filler{}
	total := uint64(0)
	for i, e := range endpoints {
		if e.Weight > 0 {
			f.owners = append(f.owners, owner{index: uint32(i), weight: e.Weight, hash: hashEndpoint(e.Addr)})
			total += uint64(e.Weight)
		}
	}
	if len(f.owners) < 2 {
		return f
	}
	slices.SortFunc(f.owners, func(a, b owner) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), endpoints[a.index].Addr.Compare(endpoints[b.index].Addr))
	})
	f.setSize()
	f.prepareOwners(total)
	for i := 1; i < cells; i++ {
		f.inverse[i] = 1
		if i > 1 {
			f.inverse[i] = uint16((cells - cells/i) * int(f.inverse[cells%i]) % cells)
		}
	}
	return f
}

func (f *filler) setSize() {
	level, from := levelOf(len(f.owners))
	f.level = level
	f.free = Size(len(f.owners))
	f.layers = f.free / cells
	f.table = make(Table, f.free)
	for i := range f.table {
		f.table[i] = unowned
	}
	if f.level > 0 {
		f.splitUnits(uint64(len(f.owners)-from), uint64(from*(branching-1)))
	}
}

// splitUnits splits a share of the units: number of total, at most all.
func (f *filler) splitUnits(number, total uint64) {
	f.split = make([]bool, len(f.table)/branching)
	limit := min(number, total) << 32 / total
	for unit := range f.split {
		f.split[unit] = splitMix(uint64(unit))>>32 < limit
	}
}

// prepareOwners computes the limits and the permutations of all endpoints.
func (f *filler) prepareOwners(total uint64) {
	n := f.layers
	unit := 1
	if f.level > 0 {
		n += f.layers / branching
		unit = branching
	}
	orders := make([]order, n*len(f.owners))
	for i := range f.owners {
		o := &f.owners[i]
		share := int(uint64(o.weight) * uint64(len(f.table)) / total)
		o.limit = share + min(share/4, len(f.table)/marginDivisor) + unit
		o.orders, orders = orders[:n:n], orders[n:]
		for layer := range f.layers {
			o.orders[layer] = newOrder(o.hash, f.level, layer)
		}
		for i := f.layers; i < n; i++ {
			o.orders[i] = newOrder(o.hash, f.level-1, i-f.layers)
		}
	}
}

func (f *filler) equalWeights() bool {
	return !slices.ContainsFunc(f.owners, func(o owner) bool { return o.weight != f.owners[0].weight })
}

// fillInTurns is fillByTime for equal weights: all endpoints have their turns at the same
// times.
func (f *filler) fillInTurns() {
	for f.free > 0 {
		for i := range f.owners {
			f.take(&f.owners[i])
		}
	}
}

// fillByTime gives a turn to the endpoint whose next turn is the earliest, until all slots are
// taken.
func (f *filler) fillByTime() {
	times := turnTimes()
	queue := make(turnQueue, len(f.owners))
	for i := range f.owners {
		queue[i] = nextTurn{times[0] / uint64(f.owners[i].weight), i}
	}
	for i := len(queue)/2 - 1; i >= 0; i-- {
		queue.down(i)
	}
	for f.free > 0 {
		o := &f.owners[queue[0].owner]
		f.take(o)
		if o.turn == cells || o.slots >= o.limit {
			queue[0] = queue[len(queue)-1]
			queue = queue[:len(queue)-1]
		} else {
			queue[0].time = times[o.turn] / uint64(o.weight)
		}
		queue.down(0)
	}
}

// A turnQueue is a heap of the next turns of all endpoints, the earliest first. At equal times
// the order is that of the owners.
type turnQueue []nextTurn

type nextTurn struct {
	time  uint64
	owner int
}

func (q turnQueue) less(i, j int) bool {
	return q[i].time < q[j].time || q[i].time == q[j].time && q[i].owner < q[j].owner
}

// down moves the element i to its place below.
func (q turnQueue) down(i int) {
	for child := 2*i + 1; child < len(q); child = 2*i + 1 {
		if child+1 < len(q) && q.less(child+1, child) {
			child++
		}
		if !q.less(child, i) {
			return
		}
		q[i], q[child] = q[child], q[i]
		i = child
	}
}

// take is a turn of an endpoint: it takes the next cell of each of its permutations, if that
// is free.
func (f *filler) take(o *owner) {
	turn := o.turn
	o.turn++
	if o.slots >= o.limit {
		return
	}
	if f.level == 0 {
		cell := o.orders[0].cell(turn, &f.inverse)
		f.takeSlots(o, cell, 1)
		return
	}
	for i := range o.orders[f.layers:] {
		unit := o.orders[f.layers+i].cell(turn, &f.inverse)*(f.layers/branching) + i
		if !f.split[unit] {
			f.takeSlots(o, unit*branching, branching)
		}
	}
	for layer := range f.layers {
		slot := o.orders[layer].cell(turn, &f.inverse)*f.layers + layer
		if f.split[slot/branching] {
			f.takeSlots(o, slot, 1)
		}
	}
}

// takeSlots gives n slots, which have a common endpoint, to an endpoint, unless they are taken
// or too many for it.
func (f *filler) takeSlots(o *owner, slot, n int) {
	if f.table[slot] != unowned || o.slots+n > o.limit {
		return
	}
	for i := range n {
		f.table[slot+i] = o.index
	}
	o.slots += n
	f.free -= n
}

// An order is a permutation of cells, by inversion in the field of cells numbers: unlike a
// permutation with a constant step, it has no pattern that two endpoints may have in common.
type order struct{ factor, first, offset uint16 }

// newOrder returns the permutation of an endpoint for a layer.
func newOrder(endpoint uint64, level, layer int) order {
	h := splitMix(endpoint + uint64(level<<16|layer)*0x9e3779b97f4a7c15)
	return order{
		factor: uint16(h>>43%(cells-1) + 1),
		first:  uint16(h >> 22 & (1<<21 - 1) % cells),
		offset: uint16(h & (1<<22 - 1) % cells),
	}
}

// cell returns the element of the permutation at a position in [0,cells).
func (o order) cell(turn int, inverse *[cells]uint16) int {
	return (int(o.offset) + int(o.factor)*int(inverse[(int(o.first)+turn)%cells])) % cells
}

// hashEndpoint returns a hash of an endpoint.
func hashEndpoint(e netip.AddrPort) uint64 {
	a := e.Addr().As16()
	h := splitMix(uint64(e.Port()) + 1)
	for i := range 2 {
		word := uint64(0)
		for _, b := range a[8*i : 8*i+8] {
			word = word<<8 | uint64(b)
		}
		h = splitMix(h ^ word)
	}
	return h
}

// splitMix is a bijection that mixes the bits of a number: the generator SplitMix64.
func splitMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// timeBits is the number of bits after the binary point of times.
const timeBits = 58

// turnTimes returns the times of the turns of an endpoint of weight 1: the logarithms by which
// its turns are spaced exponentially. Integers give the same result on all processors.
func turnTimes() []uint64 {
	times := make([]uint64, cells)
	for i := range times {
		times[i] = log2(2*cells) - log2(uint64(2*(cells-i)-1))
	}
	return times
}

// log2 returns the binary logarithm of x, which is below 2^15, with timeBits bits after the
// binary point, of which the first 32 are computed.
func log2(x uint64) uint64 {
	exponent := bits.Len64(x) - 1
	result := uint64(exponent) << timeBits
	mantissa := x << (63 - exponent) // in [1,2) with 63 bits after the binary point
	for bit := range 32 {
		high, _ := bits.Mul64(mantissa, mantissa)
		if mantissa = high << 1; high>>63 == 1 {
			mantissa = high
			result |= 1 << (timeBits - 1 - bit)
		}
	}
	return result
}
