// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"iter"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// encodedElements are encoded elements of one set, divided into pieces that fit into a
// message each. Each piece has memory of its own: one buffer for all would be copied each
// time it grows, and take twice its size.
type encodedElements struct {
	pieces      [][]byte // those after the first used ones are memory for later
	used        int
	inLastPiece int // elements in the last used piece
}

// Limits of one piece. The length of a message's list of elements has 16 bits. Messages with
// more than about a thousand elements are not cheaper per element.
const (
	pieceElements = 1000
	pieceBytes    = 60000
)

// attrSize is the size of an attribute's header in bytes.
const attrSize = 4

// expirationSize is the size of the attribute for the remaining lifetime, in bytes.
const expirationSize = attrSize + 8

// reset removes all elements and keeps the memory.
func (l *encodedElements) reset() { l.used, l.inLastPiece = 0, 0 }

// size returns the length of all pieces, in bytes.
func (l *encodedElements) size() int {
	n := 0
	for _, piece := range l.pieces[:l.used] {
		n += len(piece)
	}
	return n
}

// capacity returns the size of the memory, in bytes.
func (l *encodedElements) capacity() int {
	n := 0
	for _, piece := range l.pieces {
		n += cap(piece)
	}
	return n
}

// all yields the pieces.
func (l *encodedElements) all(yield func([]byte) bool) {
	for _, piece := range l.pieces[:l.used] {
		if !yield(piece) {
			return
		}
	}
}

// room returns the piece for an element of the given size.
func (l *encodedElements) room(size int) *[]byte {
	if l.used > 0 {
		last := &l.pieces[l.used-1]
		if l.inLastPiece < pieceElements && len(*last)+attrSize+size <= pieceBytes {
			return last
		}
	}
	switch {
	case l.used < len(l.pieces):
		l.pieces[l.used] = l.pieces[l.used][:0]
	case l.used == 0:
		l.pieces = append(l.pieces, nil) // most sets have few elements, and append finds the size
	default:
		l.pieces = append(l.pieces, make([]byte, 0, min(pieceBytes, len(l.pieces[l.used-1])+attrSize+size)))
	}
	l.used++
	l.inLastPiece = 0
	return &l.pieces[l.used-1]
}

// chunks yields the keys of removed elements, which are all of the same size, in lists of at most
// n.
func (l *encodedElements) chunks(n int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for rest := range l.all {
			for len(rest) > 0 {
				size := min(n*int(binary.NativeEndian.Uint16(rest)), len(rest)) // the first two bytes are the size of an element
				if !yield(rest[:size]) {
					return
				}
				rest = rest[size:]
			}
		}
	}
}

// append adds an encoded element and returns the content of its attribute.
func (l *encodedElements) append(f *family, s *set, e *element, withData bool) []byte {
	size := elementSize(f, s, e, withData)
	piece := l.room(size)
	l.inLastPiece++
	*piece = appendElement(*piece, f, s, e, withData)
	return (*piece)[len(*piece)-size:]
}

// elementSize returns the length of the content of an element's attribute.
func elementSize(f *family, s *set, e *element, withData bool) int {
	keySize, _ := s.kind.keyLayout(f)
	size := 2*attrSize + keySize
	if withData {
		size += dataSize(f, s, e)
	}
	return size
}

func appendElement(buf []byte, f *family, s *set, e *element, withData bool) []byte {
	keySize, _ := s.kind.keyLayout(f)
	buf = nfnl.AppendNest(buf, nfnl.ListElem, elementSize(f, s, e, withData))
	buf = nfnl.AppendNest(buf, nfnl.ElemKey, attrSize+keySize)
	buf = nfnl.AppendAttr(buf, nfnl.DataValue, keySize)
	buf = appendKey(buf, s.kind, e)
	if withData {
		buf = appendData(buf, f, s, e)
	}
	return buf
}

func appendKey(buf []byte, kind setKind, e *element) []byte {
	addr := e.key.addr.Addr()
	switch kind {
	case addresses, affinityEntries:
		return appendAddr(buf, addr)
	case endpointsBySlot, slotsByIndex:
		return binary.NativeEndian.AppendUint32(buf, e.slot)
	case addressPairs:
		return appendAddr(appendAddr(buf, addr), addr)
	case verdictsByAddress, endpointsByAddress:
		buf = appendAddr(buf, addr)
	case verdictsByNodePort, endpointsByNodePort: // the key begins with the protocol
	}
	buf = append(buf, byte(e.key.proto), 0, 0, 0)
	buf = appendPort(buf, e.key.addr.Port())
	if kind == endpointsByAddress || kind == endpointsByNodePort {
		buf = binary.NativeEndian.AppendUint32(buf, e.slot)
	}
	return buf
}

func appendPort(buf []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(buf, port), 0, 0)
}

// dataSize returns the number of bytes that appendData appends.
func dataSize(f *family, s *set, e *element) int {
	switch s.kind {
	case endpointsByAddress, endpointsByNodePort, endpointsBySlot:
		return 2*attrSize + f.addrLen + 4
	case slotsByIndex:
		return 2*attrSize + 4
	case affinityEntries:
		return expirationSize + 2*attrSize + 4
	case verdictsByAddress, verdictsByNodePort:
		return 2*attrSize + attrSize + 4 + nfnl.StringSize(e.chain)
	case addresses, addressPairs: // these sets have no data
	}
	return 0
}

func appendData(buf []byte, f *family, s *set, e *element) []byte {
	size := dataSize(f, s, e)
	if size == 0 {
		return buf
	}
	if s.kind == affinityEntries {
		buf = nfnl.AppendAttr(buf, nfnl.ElemExpiration, expirationSize-attrSize)
		buf = binary.BigEndian.AppendUint64(buf, uint64(e.expires.Milliseconds()))
		size -= expirationSize
	}
	buf = nfnl.AppendNest(buf, nfnl.ElemData, size-attrSize)
	switch s.kind {
	case affinityEntries, slotsByIndex:
		buf = nfnl.AppendAttr(buf, nfnl.DataValue, 4)
		return binary.NativeEndian.AppendUint32(buf, e.target)
	case endpointsByAddress, endpointsByNodePort, endpointsBySlot:
		buf = nfnl.AppendAttr(buf, nfnl.DataValue, size-2*attrSize)
		buf = appendAddr(buf, e.value.Addr())
		return appendPort(buf, e.value.Port())
	case verdictsByAddress, verdictsByNodePort, addresses, addressPairs: // a verdict: addresses have no data
	}
	code := uint32(nfnl.VerdictGoto)
	if s.jump {
		code = nfnl.VerdictJump
	}
	buf = nfnl.AppendNest(buf, nfnl.DataVerdict, size-2*attrSize)
	buf = nfnl.AppendAttr(buf, nfnl.VerdictCode, 4)
	buf = binary.BigEndian.AppendUint32(buf, code)
	return nfnl.AppendString(buf, nfnl.VerdictChain, e.chain)
}
