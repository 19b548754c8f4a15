// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// An expr writes one expression of a rule. The kernel evaluates expressions in order until
// one does not match; they pass values in registers.
type expr func(*nfnl.Batch)

// A rule is a sequence of expressions.
type rule []expr

// then returns a copy of the rule with more expressions.
func (r rule) then(more ...expr) rule { return append(slices.Clip(r), more...) }

// word returns the number of the i-th 32-bit register.
func word(i int) uint32 { return nfnl.Reg32 + uint32(i) }

func expression(b *nfnl.Batch, name string, content func()) {
	elem := b.Nest(nfnl.ListElem)
	b.String(nfnl.ExprName, name)
	data := b.Nest(nfnl.ExprData)
	content()
	b.End(data)
	b.End(elem)
}

func value(b *nfnl.Batch, attr uint16, v []byte) {
	n := b.Nest(attr)
	b.Bytes(nfnl.DataValue, v)
	b.End(n)
}

func payload(base, offset, size int, reg uint32) expr {
	return func(b *nfnl.Batch) {
		expression(b, "payload", func() {
			b.Uint32(nfnl.PayloadDreg, reg)
			b.Uint32(nfnl.PayloadBase, uint32(base))
			b.Uint32(nfnl.PayloadOffset, uint32(offset))
			b.Uint32(nfnl.PayloadLen, uint32(size))
		})
	}
}

func loadSaddr(f *family, reg uint32) expr {
	return payload(nfnl.PayloadNetwork, f.saddrOffset, f.addrLen, reg)
}

func loadDaddr(f *family, reg uint32) expr {
	return payload(nfnl.PayloadNetwork, f.daddrOffset, f.addrLen, reg)
}

func loadSport(reg uint32) expr { return payload(nfnl.PayloadTransport, 0, 2, reg) }

func loadDport(reg uint32) expr { return payload(nfnl.PayloadTransport, 2, 2, reg) }

func loadMeta(key, reg uint32) expr {
	return func(b *nfnl.Batch) {
		expression(b, "meta", func() {
			b.Uint32(nfnl.MetaKey, key)
			b.Uint32(nfnl.MetaDreg, reg)
		})
	}
}

func setMeta(key, reg uint32) expr {
	return func(b *nfnl.Batch) {
		expression(b, "meta", func() {
			b.Uint32(nfnl.MetaKey, key)
			b.Uint32(nfnl.MetaSreg, reg)
		})
	}
}

func loadStatus(reg uint32) expr {
	return func(b *nfnl.Batch) {
		expression(b, "ct", func() {
			b.Uint32(nfnl.CtDreg, reg)
			b.Uint32(nfnl.CtKey, nfnl.CtStatus)
		})
	}
}

func compare(op uint32, reg uint32, v []byte) expr {
	return func(b *nfnl.Batch) {
		expression(b, "cmp", func() {
			b.Uint32(nfnl.CmpSreg, reg)
			b.Uint32(nfnl.CmpOp, op)
			value(b, nfnl.CmpData, v)
		})
	}
}

func equal(reg uint32, v []byte) expr    { return compare(nfnl.CmpEq, reg, v) }
func notEqual(reg uint32, v []byte) expr { return compare(nfnl.CmpNeq, reg, v) }

// bitwise computes reg = reg & mask ^ xor.
func bitwise(reg uint32, mask, xor []byte) expr {
	return func(b *nfnl.Batch) {
		expression(b, "bitwise", func() {
			b.Uint32(nfnl.BitwiseSreg, reg)
			b.Uint32(nfnl.BitwiseDreg, reg)
			b.Uint32(nfnl.BitwiseLen, uint32(len(mask)))
			value(b, nfnl.BitwiseMask, mask)
			value(b, nfnl.BitwiseXor, xor)
		})
	}
}

func lookup(set string, attrs ...func(*nfnl.Batch)) expr {
	return func(b *nfnl.Batch) {
		expression(b, "lookup", func() {
			b.String(nfnl.LookupSet, set)
			b.Uint32(nfnl.LookupSreg, word(0))
			for _, a := range attrs {
				a(b)
			}
		})
	}
}

// inSet matches if the set holds the key that begins in the first register.
func inSet(set string) expr { return lookup(set) }

// mapTo replaces the key that begins in the first register by the data of the map. It does
// not match if the map does not hold the key.
func mapTo(set string) expr {
	return lookup(set, func(b *nfnl.Batch) { b.Uint32(nfnl.LookupDreg, word(0)) })
}

// verdictOf applies the verdict that the map holds for the key in the first register.
func verdictOf(set string) expr {
	return lookup(set, func(b *nfnl.Batch) { b.Uint32(nfnl.LookupDreg, nfnl.RegVerdict) })
}

// updateEntry adds the value to the map, or restarts the timeout of the value that the map
// holds for the key. It does not match if the map is full.
func updateEntry(set string, key, value uint32) expr {
	return dynset(nfnl.DynsetUpdate, set, key, value)
}

// deleteEntry removes the key from the map; it matches also if the map does not hold it.
func deleteEntry(set string, key, value uint32) expr {
	return dynset(nfnl.DynsetDelete, set, key, value)
}

func dynset(op uint32, set string, key, value uint32) expr {
	return func(b *nfnl.Batch) {
		expression(b, "dynset", func() {
			b.String(nfnl.DynsetSet, set)
			b.Uint32(nfnl.DynsetOp, op)
			b.Uint32(nfnl.DynsetKey, key)
			b.Uint32(nfnl.DynsetData, value)
		})
	}
}

func randomBelow(n int, reg uint32) expr {
	return func(b *nfnl.Batch) {
		expression(b, "numgen", func() {
			b.Uint32(nfnl.NumgenDreg, reg)
			b.Uint32(nfnl.NumgenModulus, uint32(n))
			b.Uint32(nfnl.NumgenType, nfnl.NumgenRandom)
		})
	}
}

// hashBelow replaces size bytes that begin in the first register by a number below n: their hash,
// which package consistent computes too.
func hashBelow(n, size int) expr {
	return func(b *nfnl.Batch) {
		expression(b, "hash", func() {
			b.Uint32(nfnl.HashSreg, word(0))
			b.Uint32(nfnl.HashDreg, word(0))
			b.Uint32(nfnl.HashLen, uint32(size))
			b.Uint32(nfnl.HashModulus, uint32(n))
			b.Uint32(nfnl.HashSeed, consistent.Seed)
			b.Uint32(nfnl.HashType, nfnl.HashJenkins)
		})
	}
}

// randomlyBelow matches limit of n packets, at random.
func randomlyBelow(limit, n int) rule {
	bigEndian := func(b *nfnl.Batch) { // numbers are compared byte by byte
		expression(b, "byteorder", func() {
			b.Uint32(nfnl.ByteorderSreg, word(0))
			b.Uint32(nfnl.ByteorderDreg, word(0))
			b.Uint32(nfnl.ByteorderOp, nfnl.ByteorderHton)
			b.Uint32(nfnl.ByteorderLen, 4)
			b.Uint32(nfnl.ByteorderSize, 4)
		})
	}
	return rule{randomBelow(n, word(0)), bigEndian, compare(nfnl.CmpLt, word(0), binary.BigEndian.AppendUint32(nil, uint32(limit)))}
}

func dnat(f *family, addr, port uint32) expr {
	return func(b *nfnl.Batch) {
		expression(b, "nat", func() {
			b.Uint32(nfnl.NATType, nfnl.NATDestination)
			b.Uint32(nfnl.NATFamily, uint32(f.number))
			b.Uint32(nfnl.NATRegAddrMin, addr)
			b.Uint32(nfnl.NATRegProtoMin, port)
		})
	}
}

func masquerade(b *nfnl.Batch) {
	expression(b, "masq", func() { b.Uint32(nfnl.MasqFlags, nfnl.NATFullyRandom) })
}

// isLocal matches if the packet's source or destination, depending on flag, is an address of
// this node.
func isLocal(flag uint32) rule { return addrType(flag, nfnl.CmpEq) }

// addrType matches if the address is one of this node (op CmpEq) or is not (op CmpNeq).
func addrType(flag, op uint32) rule {
	return rule{func(b *nfnl.Batch) {
		expression(b, "fib", func() {
			b.Uint32(nfnl.FibDreg, word(0))
			b.Uint32(nfnl.FibResult, nfnl.FibAddrType)
			b.Uint32(nfnl.FibFlags, flag)
		})
	}, compare(op, word(0), native(nfnl.RouteTypeLocal))}
}

func reject(kind uint32, code uint8) expr {
	return func(b *nfnl.Batch) {
		expression(b, "reject", func() {
			b.Uint32(nfnl.RejectType, kind)
			b.Bytes(nfnl.RejectCode, []byte{code})
		})
	}
}

func verdict(code uint32, chain string) expr {
	return func(b *nfnl.Batch) {
		expression(b, "immediate", func() {
			b.Uint32(nfnl.ImmediateDreg, nfnl.RegVerdict)
			data := b.Nest(nfnl.ImmediateData)
			v := b.Nest(nfnl.DataVerdict)
			b.Uint32(nfnl.VerdictCode, code)
			if chain != "" {
				b.String(nfnl.VerdictChain, chain)
			}
			b.End(v)
			b.End(data)
		})
	}
}

func jump(chain string) expr { return verdict(nfnl.VerdictJump, chain) }
func goTo(chain string) expr { return verdict(nfnl.VerdictGoto, chain) }

// within matches if the address at offset in the network header is in prefix (op CmpEq), or
// is not (op CmpNeq).
func within(f *family, offset int, prefix netip.Prefix, op uint32) rule {
	if prefix.Bits() == 0 && op == nfnl.CmpEq {
		return nil
	}
	r := rule{payload(nfnl.PayloadNetwork, offset, f.addrLen, word(0))}
	if prefix.Bits() < f.addrLen*8 {
		r = r.then(bitwise(word(0), maskOf(f, prefix.Bits()), make([]byte, f.addrLen)))
	}
	return r.then(compare(op, word(0), prefix.Masked().Addr().AsSlice()))
}

func maskOf(f *family, bits int) []byte {
	mask := make([]byte, f.addrLen)
	for i := range bits {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return mask
}

// native encodes a number in the byte order of registers.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func appendAddr(buf []byte, a netip.Addr) []byte {
	if a.Is4() {
		b := a.As4()
		return append(buf, b[:]...)
	}
	b := a.As16()
	return append(buf, b[:]...)
}
