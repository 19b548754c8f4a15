// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"math/bits"
	"net/netip"
	"slices"
)

// objects are the chains and sets of a table. Its methods update them and write the
// operations to out.
type objects struct {
	family   *family
	out      txWriter
	counting bool // whether elements have counters
	// withoutHash reports whether the kernel cannot compute hashes.
	withoutHash bool

	sets                           []*set // nil where a set was deleted
	freeIndexes                    []int  // of sets
	serviceIPs, nodePorts          *set
	firewallIPs, firewallNodePorts *set
	clusterIPs, hairpin            *set
	endpointMaps                   map[endpointMap]*set
	lbChains                       map[lbChain]bool

	chainCount   int // chains of all kinds
	elementCount int // elements of all sets, without those that packets add

	// Of the transaction being written:
	newSets  []*set
	overfull []*set // sets that held more elements than their size at some moment
}

// minSetSize is the minimum size of a set, in elements.
const minSetSize = 1024

// newStaticSets creates the sets that each table has.
func (o *objects) newStaticSets() {
	o.serviceIPs = o.newSet(mapServiceIPs, verdictsByAddress, commentServiceIPs)
	o.nodePorts = o.newSet(mapServiceNodePorts, verdictsByNodePort, commentServiceNodePorts)
	o.firewallIPs = o.newSet(mapFirewallIPs, verdictsByAddress, commentFirewallIPs)
	o.firewallNodePorts = o.newSet(mapFirewallNodePorts, verdictsByNodePort, commentFirewallNodePorts)
	o.firewallIPs.jump, o.firewallNodePorts.jump = true, true
	o.serviceIPs.counted, o.nodePorts.counted = o.counting, o.counting
	o.clusterIPs = o.newSet(setClusterIPs, addresses, commentClusterIPs)
	o.hairpin = o.newSet(setHairpinConnections, addressPairs, commentHairpinConnections)
}

func (o *objects) newSet(name string, kind setKind, comment string) *set {
	s := &set{name: name, kind: kind, comment: comment, index: len(o.sets)}
	if n := len(o.freeIndexes); n > 0 {
		s.index, o.freeIndexes = o.freeIndexes[n-1], o.freeIndexes[:n-1]
		o.sets[s.index] = s
	} else {
		o.sets = append(o.sets, s)
	}
	o.newSets = append(o.newSets, s)
	o.out.newSet(s)
	return s
}

func (o *objects) dropSet(s *set) {
	o.elementCount -= s.count
	o.out.dropSet(s)
	o.sets[s.index] = nil
	o.freeIndexes = append(o.freeIndexes, s.index)
}

// verifiable yields the sets whose elements only the backend changes.
func (o *objects) verifiable(yield func(*set) bool) {
	for _, s := range o.sets {
		if s != nil && s.kind != affinityEntries && !yield(s) {
			return
		}
	}
}

func (o *objects) newChain(c chainSpec) {
	o.chainCount++
	o.out.newChain(c)
}

func (o *objects) dropChain(name string) {
	o.chainCount--
	o.out.dropChain(name)
}

// ensureLBChain creates the load-balancing chain and its endpoint map if necessary.
func (o *objects) ensureLBChain(c lbChain) {
	if o.lbChains[c] {
		return
	}
	o.lbChains[c] = true
	o.ensureEndpointMap(c.endpointMap())
	o.newChain(chainSpec{name: c.name(), comment: loadBalanceComment(c.size), rules: c.rules(o.family)})
}

// ensureEndpointMap returns the endpoint map, created if necessary.
func (o *objects) ensureEndpointMap(e endpointMap) *set {
	if o.endpointMaps[e] == nil {
		o.endpointMaps[e] = o.newSet(e.name(), e.kind(), endpointMapComment(e.limit))
		o.endpointMaps[e].counted = o.counting
	}
	return o.endpointMaps[e]
}

func (o *objects) add(s *set, e element) {
	o.count(s, 1)
	o.out.add(s, e)
}

func (o *objects) remove(s *set, e element) {
	o.count(s, -1)
	o.out.remove(s, e)
}

// count notes that s holds delta more elements.
func (o *objects) count(s *set, delta int) {
	s.count += delta
	o.elementCount += delta
	if delta > 0 && s.count > s.size && s.size > 0 {
		o.overfull = append(o.overfull, s)
	}
}

// sizeSets ends a transaction. It chooses the sizes of new sets, with room for as many
// elements again, and reports whether all other sets have room for their elements.
func (o *objects) sizeSets() (fits bool) {
	for _, s := range o.newSets {
		if s.size == 0 {
			s.size = max(minSetSize, 1<<bits.Len(uint(2*s.count)))
		}
	}
	full := slices.ContainsFunc(o.overfull, func(s *set) bool { return s.count > s.size })
	o.newSets, o.overfull = o.newSets[:0], o.overfull[:0]
	return !full
}

// countReference adds a reference to the element's address, or removes one. The set s holds
// the address while refs counts a reference.
func (o *objects) countReference(s *set, refs map[netip.Addr]int, e element, add bool) {
	addr := e.key.addr.Addr()
	e.key = frontendKey{addr: netip.AddrPortFrom(addr, 0)}
	if add {
		if refs[addr]++; refs[addr] == 1 {
			o.add(s, e)
		}
		return
	}
	if refs[addr]--; refs[addr] == 0 {
		delete(refs, addr)
		o.remove(s, e)
	}
}
