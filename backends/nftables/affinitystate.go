// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// updateAffinityPort brings the chains and maps of a port with affinity to their desired
// state, created if necessary.
func (st *tableState) updateAffinityPort(id string, desired *desiredFrontend) {
	pools, timeout, refused := desired.portPools, affinityTimeout(desired.affinity), desired.refused
	a := st.affinityPorts[id]
	equal := func(a, b localsink.Pool) bool { return slices.Equal(a.Endpoints, b.Endpoints) }
	if a != nil && a.timeout == timeout && a.refused == refused && a.selection == desired.selection && slices.EqualFunc(a.desired, pools, equal) {
		return
	}
	if a == nil {
		a = &affinityPort{id: id, proto: desired.key.proto, pools: map[int]*affinityPool{}}
		st.affinityPorts[id] = a
	}
	slots, removed := affinitySlots(a.endpoints, pools)
	for _, e := range slots {
		st.countHairpin(e, true)
	}
	for _, e := range a.endpoints {
		st.countHairpin(e, false)
	}
	a.desired, a.endpoints, a.refused, a.selection = pools, slots, refused, desired.selection
	if removed || a.timeout != timeout || !a.canGrow() {
		st.replaceMaps(a, timeout)
	}
	st.fillMaps(a)
}

// replaceMaps creates a new map of entries, to which the present entries are copied later,
// and marks all present maps for the cleanup.
func (st *tableState) replaceMaps(a *affinityPort, timeout time.Duration) {
	c := entryCopy{to: a, pools: len(a.desired), suffixes: []int{0, 1}} // of an earlier process
	if a.entries != nil {
		c.suffixes = []int{a.suffix}
		a.suffix = 1 - a.suffix
		st.cleanup.sets = append(st.cleanup.sets, a.entries)
		a.endpoints, _ = affinitySlots(nil, a.desired)
	}
	for _, number := range slices.Sorted(maps.Keys(a.pools)) {
		p := a.pools[number]
		c.pools = max(c.pools, number)
		st.cleanUpMaps(p)
		p.slots, p.choices, p.endpoints, p.index = nil, nil, nil, nil
		if number > len(a.desired) || len(a.desired[number-1].Endpoints) == 0 {
			st.emptyChain(p.chain)
			delete(a.pools, number)
		}
	}
	st.change.entryCopies = append(st.change.entryCopies, c)
	a.timeout = timeout
	a.entries = st.newSet(entriesMapName(a.id, a.suffix), affinityEntries, commentAffinityEntries)
	a.entries.size, a.entries.timeout = maxAffinityEntries, timeout
}

// cleanUpMaps marks the maps of a pool for the cleanup.
func (st *tableState) cleanUpMaps(p *affinityPool) {
	st.cleanup.sets = append(st.cleanup.sets, p.endpoints)
	if p.index != nil {
		st.cleanup.sets = append(st.cleanup.sets, p.index)
	}
}

// fillMaps adds the missing elements to the maps of a port and writes the rules of its pools.
func (st *tableState) fillMaps(a *affinityPort) {
	slots := a.slotsByEndpoint()
	created := map[int]bool{}
	for i, pool := range a.desired {
		number := i + 1
		if len(pool.Endpoints) > 0 && a.pools[number] == nil {
			a.pools[number], created[number] = &affinityPool{chain: affinityChainName(a.id, number)}, true
		}
	}
	for _, number := range slices.Sorted(maps.Keys(a.pools)) {
		p := a.pools[number]
		st.fillPoolMaps(a, p, number, slots)
		spec := chainSpec{name: p.chain, comment: commentAffinityChain, rules: a.rules(st.family, p)}
		if created[number] {
			st.newChain(spec)
		} else {
			st.out.setRules(spec)
		}
	}
}

func (st *tableState) fillPoolMaps(a *affinityPort, p *affinityPool, number int, slots map[netip.AddrPort]uint32) {
	endpoints := a.desired[number-1].Endpoints
	if p.endpoints == nil {
		p.endpoints = st.newSet(poolEndpointsMapName(a.id, number, a.suffix), endpointsBySlot, commentAffinityEndpoints)
		p.endpoints.counted, p.endpoints.portID = st.counting, a.id
		p.endpoints.size = max(minPoolMapSize, 1<<bits.Len(uint(2*len(endpoints))))
	}
	present := make(map[uint32]bool, len(p.slots))
	for _, slot := range p.slots {
		present[slot] = true
	}
	var missing []uint32
	for _, e := range endpoints {
		if slot := slots[e.Addr]; !present[slot] {
			missing = append(missing, slot)
		}
	}
	slices.Sort(missing)
	p.slots = append(p.slots, missing...)
	for _, slot := range missing {
		st.add(p.endpoints, element{slot: slot, value: a.endpoints[slot].Addr})
	}
	indexed := p.choices
	p.choices = a.newChoices(p, endpoints, slots)
	if p.index == nil && !isIdentity(p.choices) {
		p.index = st.newSet(poolIndexMapName(a.id, number, a.suffix), slotsByIndex, commentAffinityIndex)
		p.index.size, indexed = a.indexSize(p), nil
	}
	if p.index != nil {
		st.replaceIndex(p.index, indexed, p.choices)
	}
}

// indexSize returns the size of a new index of a pool. Those of consistent selection have a fixed
// number of elements.
func (a *affinityPort) indexSize(p *affinityPool) int {
	if isConsistent(a.selection) && len(p.choices) > 1 {
		return len(p.choices)
	}
	return max(p.endpoints.size, 1<<bits.Len(uint(2*len(p.choices))))
}

// replaceIndex writes the differences between two states of an index. Numbers without a successor
// are removed in the cleanup.
func (st *tableState) replaceIndex(index *set, old, desired []uint32) {
	for i := range max(len(old), len(desired)) {
		if i < len(old) && i < len(desired) && old[i] == desired[i] {
			continue
		}
		if i < len(old) {
			r := removal{index, element{slot: uint32(i), target: old[i]}}
			if i < len(desired) {
				st.remove(index, r.element)
			} else {
				st.count(index, -1)
				st.cleanup.removals = append(st.cleanup.removals, r)
			}
		}
		if i < len(desired) {
			st.add(index, element{slot: uint32(i), target: desired[i]})
		}
	}
}

// isIdentity reports whether the slots are 0, 1, 2...
func isIdentity(slots []uint32) bool {
	for i, slot := range slots {
		if slot != uint32(i) {
			return false
		}
	}
	return true
}

// removeUnreferenced removes the dispatch chains with affinity or consistent selection that lost
// their last reference, and then affinity ports without dispatch chains. Unlike shared dispatch
// chains, they are of no use to other frontends. Their rules are removed at once, which ends the
// references to chains and sets; the cleanup deletes those.
func (st *tableState) removeUnreferenced() {
	for _, c := range st.change.unreferenced {
		if c.refs > 0 || st.dispatchChains[*c.dispatch] != c {
			continue
		}
		delete(st.dispatchChains, *c.dispatch)
		delete(st.unused, c)
		if !c.permanent { // a permanent one is that of a table
			st.emptyChain(c.name)
		}
		if c.dispatch.affinityID != "" {
			st.releaseAffinityPort(c.dispatch.affinityID)
		}
	}
	st.change.unreferenced = st.change.unreferenced[:0]
}

// releaseAffinityPort removes the reference of a dispatch chain.
func (st *tableState) releaseAffinityPort(id string) {
	a := st.affinityPorts[id]
	if a.refs--; a.refs > 0 {
		return
	}
	delete(st.affinityPorts, id)
	for _, e := range a.endpoints {
		st.countHairpin(e, false)
	}
	st.cleanup.sets = append(st.cleanup.sets, a.entries)
	for _, number := range slices.Sorted(maps.Keys(a.pools)) {
		st.cleanUpMaps(a.pools[number])
		st.emptyChain(a.pools[number].chain)
	}
}
