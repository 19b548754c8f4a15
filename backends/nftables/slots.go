// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
)

// A slotList holds the endpoints of a pool by slot, without their weights. It is a text because a
// node has thousands of them: a slot takes 7 bytes with IPv4 and 19 with IPv6, a
// [localsink.Endpoint] 40. Equal lists are equal texts.
//
// Each slot is an address, a port and whether the endpoint is local. The byte before the first
// is the length of an address.
type slotList string

const (
	slotsHeader  = 1
	slotsTrailer = 3 // of each slot: port and whether it is local
)

// newSlotList returns the list of endpoints, whose addresses have one family.
func newSlotList(endpoints []localsink.Endpoint) slotList {
	if len(endpoints) == 0 {
		return ""
	}
	addrLen := endpoints[0].Addr.Addr().BitLen() / 8
	b := make([]byte, slotsHeader, slotsHeader+len(endpoints)*(addrLen+slotsTrailer))
	b[0] = byte(addrLen)
	for i := range endpoints {
		e := &endpoints[i]
		b = append(b, e.Addr.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, e.Addr.Port())
		local := byte(0)
		if e.Local {
			local = 1
		}
		b = append(b, local)
	}
	return slotList(b)
}

// len returns the number of slots.
func (l slotList) len() int {
	if l == "" {
		return 0
	}
	return (len(l) - slotsHeader) / (int(l[0]) + slotsTrailer)
}

// slot returns a slot in the form in which it is compared.
func (l slotList) slot(i int) slotList {
	size := int(l[0]) + slotsTrailer
	return l[slotsHeader+i*size:][:size]
}

// at returns the endpoint of a slot. Its weight is 0.
func (l slotList) at(i int) localsink.Endpoint {
	s := l.slot(i)
	var b [16]byte
	addr, _ := netip.AddrFromSlice(b[:copy(b[:], s[:l[0]])])
	s = s[l[0]:]
	return localsink.Endpoint{Addr: netip.AddrPortFrom(addr, uint16(s[0])<<8|uint16(s[1])), Local: s[2] == 1}
}

// all yields the slots and their endpoints.
func (l slotList) all() iter.Seq2[int, localsink.Endpoint] {
	return func(yield func(int, localsink.Endpoint) bool) {
		for i := range l.len() {
			if !yield(i, l.at(i)) {
				return
			}
		}
	}
}

// assignSlots distributes the endpoints of a pool, which must be sorted and may have repetitions,
// to slots. Endpoints that held has in a slot below the new number of slots keep it; the others
// fill the free slots.
func assignSlots(held slotList, pool []localsink.Endpoint) slotList {
	sorted := newSlotList(pool)
	if held == "" || held == sorted {
		return sorted
	}
	slots := make([]localsink.Endpoint, len(pool))
	placed := make([]bool, len(pool))
	taken := make([]bool, len(pool))
	for i, e := range held.all() {
		if i >= len(pool) {
			break
		}
		at, found := slices.BinarySearchFunc(pool, e.Addr, func(e localsink.Endpoint, a netip.AddrPort) int { return e.Addr.Compare(a) })
		for found && placed[at] { // a repetition
			at++
			found = at < len(pool) && pool[at].Addr == e.Addr
		}
		if found {
			slots[i], placed[at], taken[i] = pool[at], true, true
		}
	}
	free := 0
	for at, done := range placed {
		if done {
			continue
		}
		for taken[free] {
			free++
		}
		slots[free], taken[free] = pool[at], true
	}
	return newSlotList(slots)
}
