// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import "net/netip"

// hairpins counts how often each address of a local endpoint occurs. Services share the rules for
// connections from an endpoint to itself.
type hairpins map[netip.Addr]int

func (h hairpins) add(addrs []netip.Addr) {
	for _, a := range addrs {
		h[a]++
	}
}

// replace replaces the addresses of one rendering by those of another one, and adds the entries
// that begin and end with that to a change.
func (h hairpins) replace(old, desired []netip.Addr, c *change) {
	before := map[netip.Addr]bool{}
	for _, addrs := range [][]netip.Addr{old, desired} {
		for _, a := range addrs {
			before[a] = h[a] > 0
		}
	}
	h.add(desired)
	for _, a := range old {
		if h[a]--; h[a] == 0 {
			delete(h, a)
		}
	}
	for a, existed := range before {
		e := entry{entryGroup{tableNAT, chainHairpin, netip.AddrPortFrom(a, 0)}, hairpinRule(a)}
		switch exists := h[a] > 0; {
		case exists && !existed:
			c.added = append(c.added, e)
		case !exists && existed:
			c.last = append(c.last, e)
		}
	}
}
