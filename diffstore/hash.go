// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"encoding/binary"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// A Hash collects the content of a value. Every method marks the length or the
// end of what it writes, so that neighbouring fields cannot be confused.
type Hash struct{ digest xxhash.Digest }

// Uint adds a number.
func (h *Hash) Uint(v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	_, _ = h.digest.Write(b[:])
}

// Len begins a list of n elements.
func (h *Hash) Len(n int) { h.Uint(uint64(n)) }

// Bool adds a truth value.
func (h *Hash) Bool(v bool) {
	if v {
		h.Uint(1)
	} else {
		h.Uint(0)
	}
}

// String adds a string.
func (h *Hash) String(s string) {
	h.Len(len(s))
	_, _ = h.digest.WriteString(s)
}

// Addr adds an address; zones are ignored, as Kubernetes has none.
func (h *Hash) Addr(a netip.Addr) {
	h.Uint(uint64(a.BitLen()))
	b := a.As16()
	_, _ = h.digest.Write(b[:])
}

// AddrPort adds an address and a port.
func (h *Hash) AddrPort(a netip.AddrPort) {
	h.Addr(a.Addr())
	h.Uint(uint64(a.Port()))
}

// Prefix adds a network.
func (h *Hash) Prefix(p netip.Prefix) {
	h.Addr(p.Addr())
	h.Uint(uint64(int64(p.Bits())))
}
