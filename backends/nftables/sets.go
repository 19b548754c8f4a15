// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A frontendKey identifies a frontend by what clients connect to. The address of a node
// port is unspecified.
type frontendKey struct {
	addr  netip.AddrPort
	proto localsink.Protocol
}

func (k frontendKey) matchKind() matchKind {
	if k.addr.Addr().IsUnspecified() {
		return matchNodePort
	}
	return matchAddress
}

// String returns ADDRESS:PORT/PROTOCOL.
func (k frontendKey) String() string { return fmt.Sprintf("%v/%v", k.addr, k.proto) }

// A matchKind is how rules find a frontend.
type matchKind uint8

const (
	matchAddress  matchKind = iota // by destination address, protocol and port
	matchNodePort                  // by protocol and port, at any node port address of the node
)

// noun returns the word for the kind in names of kernel objects.
func (k matchKind) noun() string {
	if k == matchNodePort {
		return "nodeport"
	}
	return "service"
}

// A set is a set or map of a table.
type set struct {
	name    string
	kind    setKind
	comment string
	// jump makes the verdicts of a verdict map return when their chain ends without one.
	jump bool
	// counted sets have a counter for each element: how often a packet has found it.
	counted bool
	portID  string        // of the affinity port that the set belongs to, if any
	index   int           // position in objects.sets
	size    int           // maximum number of elements; fixed at creation
	timeout time.Duration // lifetime of elements that packets add; zero for other sets
	count   int           // elements that the backend added
	digest  uint64        // sum of the digests of these elements, after the transaction
	pending int           // position in the transaction that changes the set
}

// An element is an element of a set. The kind of the set decides which fields matter.
type element struct {
	key     frontendKey
	slot    uint32
	value   netip.AddrPort // endpoint of the slot
	target  uint32         // slot that an affinity entry or an index leads to
	expires time.Duration  // remaining lifetime of an affinity entry
	chain   string         // target of a verdict
}

// A setKind is the layout of a set's elements, written "key : data".
type setKind uint8

const (
	verdictsByAddress   setKind = iota // addr . proto . port : verdict
	verdictsByNodePort                 // proto . port : verdict
	endpointsByAddress                 // addr . proto . port . slot : addr . port
	endpointsByNodePort                // proto . port . slot : addr . port
	addresses                          // addr
	addressPairs                       // addr . addr, twice the same
	endpointsBySlot                    // slot : addr . port
	slotsByIndex                       // number : slot
	affinityEntries                    // addr : slot, added by packets
)

// nft's numbers for data types.
const (
	typeProtocol = 12
	typePort     = 13
	typeMark     = 19 // of numbers: nft 0.9.8 does not know their declaration, and aborts at type "integer"
	typePriority = 23 // of "meta priority"
	typeBits     = 6  // of each part of a concatenation
)

// keyLayout returns the length of the keys in bytes, and nft's number for their type.
func (k setKind) keyLayout(f *family) (size int, dataType uint32) {
	var parts []uint32
	switch k {
	case verdictsByAddress:
		parts = []uint32{f.addrType, typeProtocol, typePort}
	case verdictsByNodePort:
		parts = []uint32{typeProtocol, typePort}
	case endpointsByAddress:
		parts = []uint32{f.addrType, typeProtocol, typePort, typeMark}
	case endpointsByNodePort:
		parts = []uint32{typeProtocol, typePort, typeMark}
	case addresses, affinityEntries:
		parts = []uint32{f.addrType}
	case endpointsBySlot, slotsByIndex:
		parts = []uint32{typePriority}
	case addressPairs:
		parts = []uint32{f.addrType, f.addrType}
	}
	for _, p := range parts {
		dataType = dataType<<typeBits | p
		if p == f.addrType {
			size += f.addrLen
		} else {
			size += 4
		}
	}
	return size, dataType
}

// declaration returns the expressions by which nft declares the key and the data; nil if it
// declares them by their types.
func (k setKind) declaration(f *family) (key, data typeofExpr) {
	if k != endpointsByAddress && k != endpointsByNodePort {
		return nil, nil
	}
	daddr, dport := typeofHeaderField(f.header, f.daddrField), typeofHeaderField(headerTransport, fieldDport)
	parts := []typeofExpr{typeofMetaKey(nfnl.MetaL4proto), dport, typeofRandom()}
	if k == endpointsByAddress {
		parts = append([]typeofExpr{daddr}, parts...)
	}
	return typeofConcatenation(parts...), typeofConcatenation(daddr, dport)
}
