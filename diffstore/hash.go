// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"encoding/binary"
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// A Hash accumulates the content of a value. Its methods write fixed-size or
// length-prefixed data, so two different sequences of the same calls differ in content.
// Lists must be preceded by Len.
type Hash struct{ digest xxhash.Digest }

// Uint writes a number.
func (h *Hash) Uint(v uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	_, _ = h.digest.Write(b[:])
}

// Len writes the length of a list; its n elements must follow.
func (h *Hash) Len(n int) { h.Uint(uint64(n)) }

// Bool writes a boolean.
func (h *Hash) Bool(v bool) {
	if v {
		h.Uint(1)
	} else {
		h.Uint(0)
	}
}

// String writes a string.
func (h *Hash) String(s string) {
	h.Len(len(s))
	_, _ = h.digest.WriteString(s)
}

// Addr writes an address without its zone, which no Kubernetes address has.
func (h *Hash) Addr(a netip.Addr) {
	h.Uint(uint64(a.BitLen()))
	b := a.As16()
	_, _ = h.digest.Write(b[:])
}

// AddrPort writes an address and a port.
func (h *Hash) AddrPort(a netip.AddrPort) {
	h.Addr(a.Addr())
	h.Uint(uint64(a.Port()))
}

// Prefix writes an IP network.
func (h *Hash) Prefix(p netip.Prefix) {
	h.Addr(p.Addr())
	h.Uint(uint64(int64(p.Bits())))
}
