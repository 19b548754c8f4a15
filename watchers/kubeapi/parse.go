// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"net/netip"
	"strconv"
	"strings"
)

// ParseAddr parses an IP address with the leniency that API objects of old clusters
// need: surrounding white space is ignored, octets of IPv4 addresses may have leading
// zeros and are decimal, and an IPv4-mapped IPv6 address becomes the IPv4 address.
// An address with a zone is invalid.
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

// ParsePrefix parses a network in CIDR notation with the same leniency as [ParseAddr];
// the prefix length may have leading zeros too. The host bits of the result are zero.
func ParsePrefix(s string) (prefix netip.Prefix, ok bool) {
	address, length, found := strings.Cut(strings.TrimSpace(s), "/")
	addr, isAddr := ParseAddr(address)
	bits, isNumber := decimal(length)
	if !found || !isAddr || !isNumber || strings.TrimSpace(address) != address {
		return netip.Prefix{}, false
	}
	if addr.Is4() && strings.Contains(address, ":") {
		bits -= 128 - 32 // the length counts the 96 bits of the IPv4-mapped form
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil
}

// withoutLeadingZeros removes the leading zeros of each octet in the dotted decimal
// part of s. In an IPv6 address that part follows the last colon.
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

// decimal parses an unsigned number of at most 255.
func decimal(s string) (int, bool) {
	n, err := strconv.ParseUint(trimZeros(s), 10, 8)
	return int(n), err == nil
}
