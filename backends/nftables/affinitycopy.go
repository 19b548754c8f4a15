// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"net/netip"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// An elementReader returns the elements that a set has in the kernel, none if the set does
// not exist.
type elementReader func(set string) []nfnl.Element

// An entryCopy is the task of copying affinity entries to a new map.
type entryCopy struct {
	to       *affinityPort
	pools    int   // maximum number of pools that the old maps may have
	suffixes []int // of the names of the old maps
}

// copyAffinityEntries completes the first transaction of a change: it copies the affinity
// entries whose endpoints remain, with their remaining lifetimes.
//
// An entry that a packet adds while its map is read may be missed: the client gets a new
// endpoint with its next connection. No entry leads to a removed endpoint.
func (st *tableState) copyAffinityEntries(read elementReader) {
	for _, c := range st.change.entryCopies {
		n := 0
		for _, e := range c.remaining(st.family, read) {
			if n++; n > maxAffinityEntries {
				break
			}
			st.out.add(c.to.entries, e) // not counted, because packets add and remove entries
		}
	}
	st.change.entryCopies = st.change.entryCopies[:0]
}

// remaining returns the entries to copy, by client address. If several maps have an entry of
// a client, the one with the longest lifetime is returned.
func (c entryCopy) remaining(f *family, read elementReader) map[netip.Addr]element {
	slots := c.to.slotsByEndpoint()
	entries := map[netip.Addr]element{}
	for _, suffix := range c.suffixes {
		old := read(entriesMapName(c.to.id, suffix))
		if len(old) == 0 {
			continue
		}
		endpoints := c.oldEndpoints(f, suffix, read)
		for _, e := range old {
			client, ok := netip.AddrFromSlice(e.Key)
			if !ok || len(e.Data) != 4 || e.Expires < minRemaining || e.Expires <= entries[client].expires {
				continue
			}
			if slot, ok := slots[endpoints[binary.NativeEndian.Uint32(e.Data)]]; ok {
				entries[client] = element{key: frontendKey{addr: netip.AddrPortFrom(client, 0)}, target: slot, expires: min(e.Expires, c.to.timeout)}
			}
		}
	}
	return entries
}

// oldEndpoints returns the endpoints in the old maps of all pools, by slot.
func (c entryCopy) oldEndpoints(f *family, suffix int, read elementReader) map[uint32]netip.AddrPort {
	endpoints := map[uint32]netip.AddrPort{}
	for i := range c.pools {
		for _, e := range read(poolEndpointsMapName(c.to.id, i+1, suffix)) {
			if len(e.Key) == 4 && len(e.Data) == f.addrLen+4 {
				addr, _ := netip.AddrFromSlice(e.Data[:f.addrLen])
				endpoints[binary.NativeEndian.Uint32(e.Key)] = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(e.Data[f.addrLen:]))
			}
		}
	}
	return endpoints
}
