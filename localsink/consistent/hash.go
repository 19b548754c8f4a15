// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package consistent

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Seed is the seed of [HashClient] and [HashFlow].
const Seed = 0x6b706e67

// HashClient returns the hash of a client address: for selection by client. It is what
// "jhash ip saddr mod 2^32 seed Seed" computes in the kernel, and "ip6 saddr" for IPv6.
func HashClient(client netip.Addr) uint32 {
	var buf [16]byte
	return Hash(appendAddr(buf[:0], client), Seed)
}

// HashFlow returns the hash of a client address and source port: for selection by flow. It is
// what "jhash ip saddr . th sport mod 2^32 seed Seed" computes in the kernel, and "ip6 saddr"
// for IPv6.
func HashFlow(client netip.AddrPort) uint32 {
	var buf [20]byte
	key := binary.BigEndian.AppendUint16(appendAddr(buf[:0], client.Addr()), client.Port())
	return Hash(append(key, 0, 0), Seed) // the kernel pads each part of a key to four bytes
}

func appendAddr(key []byte, a netip.Addr) []byte {
	if a.Is4() {
		b := a.As4()
		return append(key, b[:]...)
	}
	b := a.As16()
	return append(key, b[:]...)
}

// Hash returns jhash of the Linux kernel: Bob Jenkins' lookup3 over words in the byte order of
// this machine.
func Hash(key []byte, seed uint32) uint32 {
	const initial = 0xdeadbeef
	a := initial + uint32(len(key)) + seed
	b, c := a, a
	for ; len(key) > 12; key = key[12:] {
		a += binary.NativeEndian.Uint32(key)
		b += binary.NativeEndian.Uint32(key[4:])
		c += binary.NativeEndian.Uint32(key[8:])
		a, b, c = mix(a, b, c)
	}
	if len(key) == 0 {
		return c
	}
	// The kernel adds the bytes of the last words one by one, the first byte as the lowest.
	var last [12]byte
	copy(last[:], key)
	a += binary.LittleEndian.Uint32(last[:])
	b += binary.LittleEndian.Uint32(last[4:])
	c += binary.LittleEndian.Uint32(last[8:])
	return final(a, b, c)
}

func mix(a, b, c uint32) (x, y, z uint32) {
	a -= c
	a ^= bits.RotateLeft32(c, 4)
	c += b
	b -= a
	b ^= bits.RotateLeft32(a, 6)
	a += c
	c -= b
	c ^= bits.RotateLeft32(b, 8)
	b += a
	a -= c
	a ^= bits.RotateLeft32(c, 16)
	c += b
	b -= a
	b ^= bits.RotateLeft32(a, 19)
	a += c
	c -= b
	c ^= bits.RotateLeft32(b, 4)
	b += a
	return a, b, c
}

func final(a, b, c uint32) uint32 {
	c ^= b
	c -= bits.RotateLeft32(b, 14)
	a ^= c
	a -= bits.RotateLeft32(c, 11)
	b ^= a
	b -= bits.RotateLeft32(a, 25)
	c ^= b
	c -= bits.RotateLeft32(b, 16)
	a ^= c
	a -= bits.RotateLeft32(c, 4)
	b ^= a
	b -= bits.RotateLeft32(a, 14)
	c ^= b
	return c - bits.RotateLeft32(b, 24)
}
