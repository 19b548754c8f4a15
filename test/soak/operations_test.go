// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
)

// An operation is a step of the sequence.
type operation struct {
	// text describes it completely, for the log and to compare sequences.
	text string
	run  func(ctx context.Context, f *fixture) error
}

// Limits of the sequence.
const (
	serviceSlots = 40 // Services that exist at most
	slicesOfSlot = 3  // EndpointSlices of a Service
	burstSize    = 300
)

// A generator makes the sequence of operations. It records what the operations so far have created,
// not what the cluster has.
type generator struct {
	rng      *rand.Rand
	rounds   int
	services [serviceSlots]*serviceState
	slices   map[string]bool // that exist
	primary  [nodes + 1]int  // which address of a node is the first, by number of the node
	extra    map[int]bool    // nodes without a proxy that exist
	down     map[string]bool // processes that are killed or stopped now
}

// newGenerator returns the generator of a seed.
func newGenerator(seed uint64) *generator {
	return &generator{
		rng:    rand.New(rand.NewPCG(seed, 0x6b706e67)),
		slices: map[string]bool{}, extra: map[int]bool{}, down: map[string]bool{},
	}
}

// chance reports true with a probability of 1 in n.
func (g *generator) chance(n int) bool { return g.rng.IntN(n) == 0 }

// choose returns one of the values.
func choose[T any](g *generator, values ...T) T { return values[g.rng.IntN(len(values))] }

// round returns the operations of the next round.
func (g *generator) round() (all []operation) {
	g.rounds++
	changes := 5 + g.rng.IntN(20)
	if g.chance(6) {
		changes = burstSize
	}
	// A fault has a beginning and an end, each after a number of changes.
	starts, ends := map[int][]faultPart{}, map[int][]faultPart{}
	for range g.rng.IntN(4) {
		fault := g.fault()
		from := g.rng.IntN(changes)
		to := from + g.rng.IntN(changes-from)
		starts[from] = append(starts[from], fault.begin)
		ends[to] = append(ends[to], fault.end)
	}
	for i := range changes {
		for _, part := range slices.Concat(starts[i], ends[i]) {
			all = append(all, part()...)
		}
		all = append(all, g.change()...)
	}
	return all
}

// change returns the operations of one change of objects. Most need one.
func (g *generator) change() []operation {
	slot := g.rng.IntN(serviceSlots)
	switch n := g.rng.IntN(100); {
	case n < 8 && g.services[slot] != nil:
		return g.deleteService(slot)
	case n < 40:
		return g.putService(slot)
	case n < 76:
		return []operation{g.putSlice(slot, g.rng.IntN(slicesOfSlot))}
	case n < 84:
		return g.deleteSlice(slot, choose(g, "0", "1", "2", invalidSuffix))
	case n < 90:
		return []operation{g.changeNode()}
	case n < 93:
		return []operation{g.changeExtraNode()}
	}
	return []operation{g.invalid(slot)}
}

// describe returns a text with a complete object.
func describe(verb string, object any) string {
	data, err := json.Marshal(object)
	if err != nil {
		return err.Error() // never: objects of the API are JSON
	}
	return fmt.Sprintf("%s %s", verb, data)
}
