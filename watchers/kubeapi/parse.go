// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"net/netip"
	"strconv"
	"strings"
)

// ParseAddr reads an address as old API objects may hold it: leading zeros in the
// octets of an IPv4 address are decimal, and an IPv4 address mapped into IPv6 is the
// IPv4 address. White space around it does not matter. There are no zones.
func ParseAddr(s string) (addr netip.Addr, ok bool) {
	s = strings.TrimSpace(s)
	addr, err := netip.ParseAddr(s)
	if err != nil {
		if addr, err = netip.ParseAddr(withoutLeadingZeros(s)); err != nil {
			return netip.Addr{}, false
		}
	}
	if addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// ParsePrefix reads a network with the same leniency as [ParseAddr], also in the
// length. Bits behind the length are cleared.
func ParsePrefix(s string) (prefix netip.Prefix, ok bool) {
	address, length, found := strings.Cut(strings.TrimSpace(s), "/")
	addr, isAddr := ParseAddr(address)
	bits, isNumber := decimal(length)
	if !found || !isAddr || !isNumber || strings.TrimSpace(address) != address {
		return netip.Prefix{}, false
	}
	if addr.Is4() && strings.Contains(address, ":") {
		bits -= 128 - 32 // the length was that of the mapped form
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil
}

// withoutLeadingZeros drops the leading zeros of the dotted decimal part of s, which
// in IPv6 is what follows the last colon.
func withoutLeadingZeros(s string) string {
	head, tail := "", s
	if colon := strings.LastIndexByte(s, ':'); colon >= 0 {
		head, tail = s[:colon+1], s[colon+1:]
	}
	if !strings.Contains(tail, ".") {
		return s
	}
	octets := strings.Split(tail, ".")
	for i, o := range octets {
		octets[i] = trimZeros(o)
	}
	return head + strings.Join(octets, ".")
}

func trimZeros(s string) string {
	if t := strings.TrimLeft(s, "0"); t != "" || s == "" {
		return t
	}
	return "0"
}

// decimal reads a number without a sign.
func decimal(s string) (int, bool) {
	n, err := strconv.ParseUint(trimZeros(s), 10, 8)
	return int(n), err == nil
}
