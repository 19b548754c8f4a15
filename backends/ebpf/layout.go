// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"encoding/binary"
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// Sizes of the elements of arrays, as in services.h. A test compares them with the bytecode.
const (
	recordSize = 128
	slotSize   = 32
	cellSize   = 8 // 4 bytes are used: elements of arrays begin at multiples of 8
)

// A frontendKey is the address, port and protocol of a frontend in the form of the program. The
// address of a node port is the unspecified one.
type frontendKey [20]byte

func newFrontendKey(a netip.AddrPort, p localsink.Protocol) frontendKey {
	k := frontendKey(newEndpointKey(a))
	k[18] = byte(p)
	return k
}

// addrPort returns the address and port of k.
func (k frontendKey) addrPort() netip.AddrPort { return endpointKey(k).addrPort() }

// nodePort returns the key of the node port with the port of k.
func (k frontendKey) nodePort() frontendKey {
	addr := netip.IPv4Unspecified()
	if k.addrPort().Addr().Is6() {
		addr = netip.IPv6Unspecified()
	}
	return newFrontendKey(netip.AddrPortFrom(addr, k.addrPort().Port()), localsink.Protocol(k[18]))
}

// An endpointKey is the address and port of an endpoint in the form of the program.
type endpointKey [20]byte

func newEndpointKey(a netip.AddrPort) endpointKey {
	var k endpointKey
	addr := a.Addr().As16()
	copy(k[:], addr[:])
	binary.BigEndian.PutUint16(k[16:], a.Port())
	return k
}

func (k endpointKey) addrPort() netip.AddrPort {
	addr := netip.AddrFrom16([16]byte(k[:16])).Unmap()
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(k[16:]))
}

// A verdict is what the program does with a connection.
type verdict uint8

// The verdicts, with the values of services.bpf.c.
const (
	verdictPass verdict = iota // leaves it to the packet path
	verdictRefuse
	verdictDrop
	verdictBalance
	verdictMasquerade // like verdictBalance, for clients outside
)

// A hashing is how a slot is selected.
type hashing uint8

// The kinds of hashing, with the values of services.bpf.c.
const (
	hashingRandom hashing = iota
	hashingClient
	hashingFlow
)

// balances reports whether connections go to an endpoint.
func (v verdict) balances() bool { return v == verdictBalance || v == verdictMasquerade }

// A record is what happens to one kind of client of a frontend. Records are comparable.
type record struct {
	frontend               frontendKey
	verdict                verdict
	hashing                hashing
	denied, empty          verdict // for clients outside of the ranges, and without endpoints
	base, count, total     uint32
	table, cells           uint32
	ranges                 uint32
	refused                uint32
	counter                uint32
	version, affinity, tmo uint64
}

func (r *record) encode(b []byte) {
	copy(b, r.frontend[:])
	b[20], b[21], b[22], b[23] = byte(r.verdict), byte(r.hashing), byte(r.denied), byte(r.empty)
	for i, v := range []uint32{r.base, r.count, r.total, r.ranges, r.refused, r.counter} {
		binary.NativeEndian.PutUint32(b[24+4*i:], v)
	}
	for i, v := range []uint64{r.version, r.affinity, r.tmo} {
		binary.NativeEndian.PutUint64(b[48+8*i:], v)
	}
	binary.NativeEndian.PutUint32(b[72:], r.table)
	binary.NativeEndian.PutUint32(b[76:], r.cells)
}

// A slot is an endpoint of a pool, with its share as newShares computes it.
type slot struct {
	endpoint         endpointKey
	threshold, alias uint32
	counter          uint32
}

func (s *slot) encode(b []byte) {
	copy(b, s.endpoint[:])
	binary.NativeEndian.PutUint32(b[20:], s.threshold)
	binary.NativeEndian.PutUint32(b[24:], s.alias)
	binary.NativeEndian.PutUint32(b[28:], s.counter)
}
