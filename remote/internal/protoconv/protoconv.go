// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package protoconv converts addresses, networks, ports, problems and strings to protobuf
// fields and back. It does not depend on Services or other objects.
package protoconv

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
)

// Text returns s with invalid UTF-8 replaced, because protobuf strings must be valid UTF-8.
func Text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Addr parses an IP address of 4 or 16 bytes. IPv4-mapped IPv6 addresses are invalid.
func Addr(b []byte) (netip.Addr, error) {
	a, ok := netip.AddrFromSlice(b)
	switch {
	case !ok:
		return a, fmt.Errorf("address: has %d bytes, want 4 or 16", len(b))
	case a.Is4In6():
		return a, fmt.Errorf("address: %s is an IPv4-mapped IPv6 address", a)
	}
	return a, nil
}

// Port parses a port number.
func Port(p uint32) (uint16, error) {
	if p > math.MaxUint16 {
		return 0, fmt.Errorf("%d is out of range 0-65535", p)
	}
	return uint16(p), nil
}

// AddrPort parses an IP address and a port number.
func AddrPort(b []byte, port uint32) (netip.AddrPort, error) {
	a, err := Addr(b)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := Port(port)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port: %w", err)
	}
	return netip.AddrPortFrom(a, p), nil
}

// Prefix parses a network.
func Prefix(in *kpng.Network) (netip.Prefix, error) {
	a, err := Addr(in.GetAddress())
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := a.Prefix(int(min(in.GetLength(), math.MaxInt32)))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("prefix length %d of %s is out of range 0-%d", in.GetLength(), a, a.BitLen())
	}
	return p, nil
}

// Prefixes parses networks. The error starts with the index of the invalid one.
func Prefixes(in []*kpng.Network) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, n := range in {
		p, err := Prefix(n)
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// Networks converts networks to messages.
func Networks(list []netip.Prefix) []*kpng.Network {
	var out []*kpng.Network
	for _, p := range list {
		out = append(out, &kpng.Network{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())})
	}
	return out
}

// Problems converts problems to messages.
func Problems(list []localsink.Problem) []*kpng.Problem {
	var out []*kpng.Problem
	for _, p := range list {
		out = append(out, &kpng.Problem{Object: Text(p.Object), Field: Text(p.Field), Message: Text(p.Message)})
	}
	return out
}

// Selection converts the selection of a port.
func Selection(s localsink.Selection) kpng.Selection {
	switch s {
	case localsink.SelectionRandom:
		return kpng.Selection_SELECTION_UNSPECIFIED
	case localsink.SelectionClient:
		return kpng.Selection_SELECTION_CLIENT
	case localsink.SelectionFlow:
		return kpng.Selection_SELECTION_FLOW
	case localsink.SelectionLeastConnections:
		return kpng.Selection_SELECTION_LEAST_CONNECTIONS
	}
	return kpng.Selection_SELECTION_UNSPECIFIED
}

// FromSelection parses the selection of a port. For a value of a newer peer it returns
// SelectionRandom and false.
func FromSelection(s kpng.Selection) (out localsink.Selection, known bool) {
	switch s {
	case kpng.Selection_SELECTION_UNSPECIFIED:
		return localsink.SelectionRandom, true
	case kpng.Selection_SELECTION_CLIENT:
		return localsink.SelectionClient, true
	case kpng.Selection_SELECTION_FLOW:
		return localsink.SelectionFlow, true
	case kpng.Selection_SELECTION_LEAST_CONNECTIONS:
		return localsink.SelectionLeastConnections, true
	}
	return localsink.SelectionRandom, false
}

// PerMille parses a share in 1/1000.
func PerMille(share uint32) (uint16, error) {
	if share > 1000 {
		return 0, fmt.Errorf("%d is out of range 0-1000", share)
	}
	return uint16(share), nil
}

// FromProblems converts messages to problems.
func FromProblems(in []*kpng.Problem) []localsink.Problem {
	var out []localsink.Problem
	for _, p := range in {
		out = append(out, localsink.Problem{Object: p.GetObject(), Field: p.GetField(), Message: p.GetMessage()})
	}
	return out
}
