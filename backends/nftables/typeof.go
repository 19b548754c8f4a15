// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import "encoding/binary"

// nft has no name for the type of plain numbers. So that it can load what it has listed, a map
// whose key ends with a random slot declares key and data by the expressions that compute
// them, "typeof" in nft, and not by types. nft keeps such a declaration in the user data of
// the map: entries of type, length and value, nested.

// nft's numbers for the kinds of expressions, and for the entries of each kind.
const (
	typeofKind    = 0 // of an expression: its kind
	typeofContent = 1 // and the entries of that kind

	typeofPayload  = 7
	typeofMeta     = 9
	typeofConcat   = 13
	typeofNumgen   = 23
	payloadHeader  = 0
	payloadField   = 1
	metaKey        = 0
	numgenKind     = 0
	numgenModulus  = 1
	numgenOffset   = 2
	numgenIsRandom = 1

	headerTransport = 11 // "th"
	fieldDport      = 2

	// slotModulus occurs in declarations only: "numgen random mod 65536".
	slotModulus = 65536
)

// A typeofExpr is an encoded expression of a declaration.
type typeofExpr []byte

// appendEntry appends an entry, which must be shorter than 256 bytes.
func appendEntry(buf []byte, kind byte, content []byte) []byte {
	return append(append(buf, kind, byte(len(content))), content...)
}

func appendNumber(buf []byte, kind byte, n uint32) []byte {
	return binary.NativeEndian.AppendUint32(append(buf, kind, 4), n)
}

func newTypeof(kind uint32, content []byte) typeofExpr {
	return appendEntry(appendNumber(nil, typeofKind, kind), typeofContent, content)
}

func typeofHeaderField(header, field uint32) typeofExpr {
	return newTypeof(typeofPayload, appendNumber(appendNumber(nil, payloadHeader, header), payloadField, field))
}

func typeofMetaKey(key uint32) typeofExpr {
	return newTypeof(typeofMeta, appendNumber(nil, metaKey, key))
}

func typeofRandom() typeofExpr {
	content := appendNumber(nil, numgenKind, numgenIsRandom)
	content = appendNumber(content, numgenModulus, slotModulus)
	return newTypeof(typeofNumgen, appendNumber(content, numgenOffset, 0))
}

func typeofConcatenation(parts ...typeofExpr) typeofExpr {
	var content []byte
	for i, p := range parts {
		content = appendEntry(content, byte(i), p)
	}
	return newTypeof(typeofConcat, content)
}
