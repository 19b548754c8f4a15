// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package values translates addresses, networks, ports, problems and text into what
// messages have for them, and back; it knows neither Services nor facts.
package protoconv

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
)

// Text returns s with a replacement for what is no UTF-8, which no message may have.
func Text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// Addr reads an address of 4 or 16 bytes.
func Addr(b []byte) (netip.Addr, error) {
	a, ok := netip.AddrFromSlice(b)
	if !ok || a.Is4In6() {
		return a, fmt.Errorf("address: %d bytes are none", len(b))
	}
	return a, nil
}

// Port reads a port.
func Port(p uint32) (uint16, error) {
	if p > math.MaxUint16 {
		return 0, fmt.Errorf("%d is none", p)
	}
	return uint16(p), nil
}

// AddrPort reads an address with a port.
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

// Prefix reads a network.
func Prefix(in *kpng.Network) (netip.Prefix, error) {
	a, err := Addr(in.GetAddress())
	if err != nil {
		return netip.Prefix{}, err
	}
	p, err := a.Prefix(int(min(in.GetLength(), math.MaxInt32)))
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s cannot have a prefix of %d bits", a, in.GetLength())
	}
	return p, nil
}

// Prefixes reads networks; the error names the one that is wrong.
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

// Networks writes networks.
func Networks(list []netip.Prefix) []*kpng.Network {
	var out []*kpng.Network
	for _, p := range list {
		out = append(out, &kpng.Network{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())})
	}
	return out
}

// Problems writes problems.
func Problems(list []localsink.Problem) []*kpng.Problem {
	var out []*kpng.Problem
	for _, p := range list {
		out = append(out, &kpng.Problem{Object: Text(p.Object), Field: Text(p.Field), Message: Text(p.Message)})
	}
	return out
}

// FromProblems reads problems.
func FromProblems(in []*kpng.Problem) []localsink.Problem {
	var out []localsink.Problem
	for _, p := range in {
		out = append(out, localsink.Problem{Object: p.GetObject(), Field: p.GetField(), Message: p.GetMessage()})
	}
	return out
}
