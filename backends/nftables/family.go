// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// A family holds what differs between IPv4 and IPv6.
type family struct {
	number      uint8
	name        string // as nft writes it
	addrLen     int    // bytes
	saddrOffset int    // of the source address in the network header, in bytes
	daddrOffset int
	addrType    uint32 // nft's number for the data type of an address
	header      uint32 // nft's number for the network header
	daddrField  uint32 // nft's number for the destination address in it
	unreachable uint8  // ICMP code for "port unreachable"
	loopback    netip.Prefix
}

func ipv4() *family {
	return &family{number: nfnl.FamilyIPv4, name: "ip", addrLen: 4, saddrOffset: 12, daddrOffset: 16, addrType: 7, header: 12, daddrField: 12,
		unreachable: nfnl.PortUnreachable4, loopback: netip.MustParsePrefix("127.0.0.0/8")}
}

func ipv6() *family {
	return &family{number: nfnl.FamilyIPv6, name: "ip6", addrLen: 16, saddrOffset: 8, daddrOffset: 24, addrType: 8, header: 13, daddrField: 9,
		unreachable: nfnl.PortUnreachable6, loopback: netip.MustParsePrefix("::1/128")}
}

// has reports whether a is an address of this family that a packet can carry: neither
// IPv4-mapped nor with a zone.
func (f *family) has(a netip.Addr) bool {
	return a.BitLen() == f.addrLen*8 && !a.Is4In6() && a.Zone() == ""
}

// unspecified returns the unspecified address of the family.
func (f *family) unspecified() netip.Addr {
	if f.addrLen == 4 {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// prefixes returns the prefixes of this family, masked, sorted and without duplicates.
func (f *family) prefixes(all []netip.Prefix) []netip.Prefix {
	var own []netip.Prefix
	for _, p := range all {
		if p.IsValid() && f.has(p.Addr()) {
			own = append(own, p.Masked())
		}
	}
	slices.SortFunc(own, comparePrefixes)
	return slices.Compact(own)
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
