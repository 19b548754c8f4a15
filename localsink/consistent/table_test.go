// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package consistent

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// newEndpoints returns n endpoints of weight 1 with consecutive addresses, as pods have them.
func newEndpoints(r *rand.Rand, n int) []Endpoint {
	addr := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, r.Uint32()&^(1<<16-1)|1)))
	if r.IntN(2) == 0 {
		addr = netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint32([]byte{0xfd, 0, 11: 0}, r.Uint32()&^(1<<16-1)|1)))
	}
	all := make([]Endpoint, n)
	for i := range all {
		all[i] = Endpoint{Addr: netip.AddrPortFrom(addr, 8080), Weight: 1}
		addr = addr.Next()
	}
	return all
}

// setWeights gives the endpoints random weights of any magnitude, in relation to each other at
// most 1 to 16.
func setWeights(r *rand.Rand, all []Endpoint) {
	unit := uint32(1) << r.IntN(24)
	for i := range all {
		all[i].Weight = unit + r.Uint32N(15*unit+1)
	}
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func totalWeight(all []Endpoint) (total float64) {
	for _, e := range all {
		total += float64(e.Weight)
	}
	return total
}

// movedShare returns the share of clients whose endpoint differs between two tables.
func movedShare(from []Endpoint, fromTable Table, to []Endpoint, toTable Table) float64 {
	slots, moved := max(len(fromTable), len(toTable)), 0
	for s := range slots {
		if from[fromTable[s*len(fromTable)/slots]].Addr != to[toTable[s*len(toTable)/slots]].Addr {
			moved++
		}
	}
	return float64(moved) / float64(slots)
}

// removalExcess returns which share of clients moves if endpoint i is removed, beyond its own
// share.
func removalExcess(all []Endpoint, t Table, i int) float64 {
	remaining := slices.Delete(slices.Clone(all), i, i+1)
	return movedShare(all, t, remaining, NewTable(remaining)) - float64(all[i].Weight)/totalWeight(all)
}

// countSlots returns the number of slots by endpoint.
func countSlots(all []Endpoint, t Table) []int {
	slots := make([]int, len(all))
	for _, i := range t {
		slots[i]++
	}
	return slots
}

// requireValid checks all that is exact about a table.
func requireValid(t require.TestingT, all []Endpoint, table Table) {
	n := len(slices.DeleteFunc(slices.Clone(all), func(e Endpoint) bool { return e.Weight == 0 }))
	require.Len(t, table, Size(n))
	switch {
	case n < 2:
		require.Len(t, table, n)
		return
	case n <= 128:
		require.Len(t, table, 8191)
	case n <= 512:
		require.Len(t, table, 4*8191)
	default:
		require.Len(t, table, 16*8191)
	}
	total := totalWeight(all)
	for i, slots := range countSlots(all, table) {
		share := float64(all[i].Weight) / total * float64(len(table))
		require.LessOrEqual(t, float64(slots), share+min(share/4, float64(len(table))/160)+4, "%v", all[i])
		require.False(t, all[i].Weight == 0 && slots > 0, "%v", all[i])
	}
}

// sizes are numbers of endpoints: small ones, and those around each change of the size.
func sizes() []int { return []int{2, 3, 4, 5, 7, 10, 16, 33, 64, 128, 129, 150, 512, 513, 2048, 2049} }

func TestOrderOfTheListDoesNotMatter(t *testing.T) {
	t.Parallel()
	r := newRand(1)
	for _, n := range []int{2, 3, 10, 100, 200} {
		for _, weighted := range []bool{false, true} {
			all := newEndpoints(r, n)
			if weighted {
				setWeights(r, all)
			}
			table := NewTable(all)
			requireValid(t, all, table)
			shuffled := slices.Clone(all)
			r.Shuffle(n, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			require.Zero(t, movedShare(all, table, shuffled, NewTable(shuffled)))
		}
	}
}

func TestRemovedEndpointMovesFewOtherClients(t *testing.T) {
	t.Parallel()
	r := newRand(2)
	for _, n := range sizes() {
		for _, weighted := range []bool{false, true} {
			for range max(1, 24/n) {
				all := newEndpoints(r, n)
				if weighted {
					setWeights(r, all)
				}
				table := NewTable(all)
				requireValid(t, all, table)
				for range min(n, 3) {
					require.LessOrEqual(t, removalExcess(all, table, r.IntN(n)), 0.01, "%d endpoints, weighted %v", n, weighted)
				}
			}
		}
	}
}

func TestChangedWeightMovesFewClients(t *testing.T) {
	t.Parallel()
	r := newRand(3)
	for range 8 {
		before := newEndpoints(r, 2+r.IntN(20))
		setWeights(r, before)
		after := slices.Clone(before)
		after[0].Weight += after[0].Weight / 10
		shareBefore, shareAfter := float64(before[0].Weight)/totalWeight(before), float64(after[0].Weight)/totalWeight(after)
		require.LessOrEqual(t, movedShare(before, NewTable(before), after, NewTable(after)), shareAfter-shareBefore+0.02)
	}
}

func TestSharesFollowWeights(t *testing.T) {
	t.Parallel()
	r := newRand(4)
	for _, n := range sizes() {
		all := newEndpoints(r, n)
		setWeights(r, all)
		table, total := NewTable(all), totalWeight(all)
		for i, slots := range countSlots(all, table) {
			share := float64(all[i].Weight) / total * float64(len(table))
			// The deviation of a sum of independent slots, five times.
			require.Greater(t, float64(slots), share-5*max(1, math.Sqrt(share)), "%d endpoints: %v", n, all[i])
		}
	}
}

// The order of turns by time is that of fillInTurns if all weights are equal. Only ratios of
// weights matter.
func TestOnlyRatiosOfWeightsMatter(t *testing.T) {
	t.Parallel()
	all := newEndpoints(newRand(5), 150)
	table := NewTable(all)
	f := newFiller(all)
	f.fillByTime()
	require.Equal(t, table, f.table)
	for i := range all {
		all[i].Weight = 1<<32 - 1
	}
	require.Equal(t, table, NewTable(all))

	for i := range all {
		all[i].Weight = uint32(i + 1)
	}
	table = NewTable(all)
	scaled := slices.Clone(all)
	for i := range scaled {
		scaled[i].Weight *= 1000
	}
	require.LessOrEqual(t, movedShare(all, table, scaled, NewTable(scaled)), 0.001)
}

func TestEndpointsWithoutWeightGetNoSlot(t *testing.T) {
	t.Parallel()
	all := newEndpoints(newRand(6), 3)
	require.Empty(t, NewTable(nil))
	all[0].Weight, all[1].Weight, all[2].Weight = 0, 0, 0
	require.Empty(t, NewTable(all))
	all[1].Weight = 7
	require.Equal(t, Table{1}, NewTable(all))
	require.Zero(t, NewTable(all).Slot(1<<32-1))
	all[2].Weight = 7
	table := NewTable(all)
	requireValid(t, all, table)
	rest := all[1:]
	require.Zero(t, movedShare(all, table, rest, NewTable(rest)))
}

func TestSlotDividesTheRangeOfTheHash(t *testing.T) {
	t.Parallel()
	table := make(Table, 8191)
	require.Zero(t, table.Slot(0))
	require.Equal(t, 8190, table.Slot(1<<32-1))
	require.Equal(t, 4095, table.Slot(1<<31))
}

// All nodes must compute the same tables, whatever the version of this package they have.
func TestTablesAreTheSameInAllVersions(t *testing.T) {
	t.Parallel()
	digest := func(n int, weight func(i int) uint32) string {
		all := make([]Endpoint, n)
		for i := range all {
			all[i] = Endpoint{netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 8080), weight(i)}
		}
		h := sha256.New()
		for _, i := range NewTable(all) {
			fmt.Fprintln(h, all[i].Addr)
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	one := func(int) uint32 { return 1 }
	require.Equal(t, "e2631e81ae5959bf", digest(3, one))
	require.Equal(t, "03446e770baf9fb7", digest(200, one))
	require.Equal(t, "b414c3992b5b0460", digest(1000, one))
	require.Equal(t, "a9a96b7fe0f2c9fc", digest(10, func(i int) uint32 { return uint32(i) * 1e8 }))
}

func TestNewTableAllocatesLittle(t *testing.T) {
	all := newEndpoints(newRand(7), 10)
	require.LessOrEqual(t, testing.AllocsPerRun(10, func() { NewTable(all) }), 10.0)
}

func FuzzNewTable(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255, 0, 2})
	f.Fuzz(func(t *testing.T, data []byte) {
		var all []Endpoint
		for ; len(data) >= 6 && len(all) < 40; data = data[6:] {
			addr := netip.AddrFrom4([4]byte{10, 0, 0, data[0]})
			all = append(all, Endpoint{netip.AddrPortFrom(addr, uint16(data[1])), binary.BigEndian.Uint32(data[2:])})
		}
		slices.SortFunc(all, func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) })
		all = slices.CompactFunc(all, func(a, b Endpoint) bool { return a.Addr == b.Addr })
		table := NewTable(all)
		requireValid(t, all, table)
		reversed := slices.Clone(all)
		slices.Reverse(reversed)
		if len(table) > 0 {
			require.Zero(t, movedShare(all, table, reversed, NewTable(reversed)))
		}
	})
}

// BenchmarkNewTable also reports the largest and the smallest number of slots of an endpoint
// in relation to its share, and which share of clients a removed endpoint moves beyond its
// own: the mean and the maximum.
func BenchmarkNewTable(b *testing.B) {
	for _, n := range []int{10, 1000} {
		for _, weighted := range []bool{false, true} {
			b.Run(fmt.Sprintf("endpoints=%d/weighted=%v", n, weighted), func(b *testing.B) {
				r := newRand(8)
				all := newEndpoints(r, n)
				if weighted {
					setWeights(r, all)
				}
				b.ReportAllocs()
				var table Table
				for b.Loop() {
					table = NewTable(all)
				}
				low, high, total := 1.0, 1.0, totalWeight(all)
				for i, slots := range countSlots(all, table) {
					ratio := float64(slots) / float64(len(table)) * total / float64(all[i].Weight)
					low, high = min(low, ratio), max(high, ratio)
				}
				b.ReportMetric(low, "min-share")
				b.ReportMetric(high, "max-share")
			})
		}
	}
}

// BenchmarkRemoval reports which share of the clients moves beyond that of the removed
// endpoint, in percent: the mean and the maximum over random sets of endpoints.
func BenchmarkRemoval(b *testing.B) {
	for _, n := range sizes() {
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			r, sum, worst, count := newRand(9), 0.0, 0.0, 0
			for b.Loop() {
				all := newEndpoints(r, n)
				if r.IntN(2) == 0 {
					setWeights(r, all)
				}
				excess := removalExcess(all, NewTable(all), r.IntN(n))
				sum, worst, count = sum+excess, max(worst, excess), count+1
			}
			b.ReportMetric(100*sum/float64(count), "mean-%")
			b.ReportMetric(100*worst, "worst-%")
			b.ReportMetric(float64(count), "removals")
		})
	}
}
