// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// decode returns the messages of a batch as text, for golden files. It does not use the code
// that builds batches.
func decode(b *nfnl.Batch) string {
	var out strings.Builder
	data := b.Content()
	for at := 0; at < len(data); {
		size := int(binary.NativeEndian.Uint32(data[at:]))
		kind, flags := binary.NativeEndian.Uint16(data[at+4:]), binary.NativeEndian.Uint16(data[at+6:])
		family := data[at+16]
		if kind>>8 == 10 {
			out.WriteString(decodeMessage(kind&0xff, flags, family, attrsOf(data[at+20:at+size])))
		}
		at += size
	}
	return out.String()
}

// An attr is a netlink attribute.
type attr struct {
	kind uint16
	data []byte
}

type attrs []attr

func attrsOf(data []byte) (all attrs) {
	for len(data) >= 4 {
		size := int(binary.NativeEndian.Uint16(data))
		if size < 4 || size > len(data) {
			panic(fmt.Sprintf("attribute of %d bytes in %d bytes of data", size, len(data)))
		}
		all = append(all, attr{binary.NativeEndian.Uint16(data[2:]) &^ 0x8000, data[4:size]})
		data = data[min(len(data), (size+3)&^3):]
	}
	return all
}

func (a attrs) get(kind uint16) []byte {
	for _, one := range a {
		if one.kind == kind {
			return one.data
		}
	}
	return nil
}

func (a attrs) has(kind uint16) bool         { return a.get(kind) != nil }
func (a attrs) nest(kind uint16) attrs       { return attrsOf(a.get(kind)) }
func (a attrs) text(kind uint16) string      { return strings.TrimSuffix(string(a.get(kind)), "\x00") }
func (a attrs) number(kind uint16) (n int64) { return number(a.get(kind)) }
func (a attrs) hex() string                  { return words(a.get(nfnl.DataValue)) }
func (a attrs) reg(kind uint16) string       { return register(a.number(kind)) }

// missing is the value of an absent number.
const missing = -1 << 40

func number(data []byte) int64 {
	if data == nil {
		return missing
	}
	switch len(data) {
	case 1:
		return int64(data[0])
	case 4:
		return int64(int32(binary.BigEndian.Uint32(data)))
	case 8:
		return int64(binary.BigEndian.Uint64(data))
	}
	return 0
}

// words returns bytes in groups of four.
func words(data []byte) string {
	var all []string
	for ; len(data) > 4; data = data[4:] {
		all = append(all, hex.EncodeToString(data[:4]))
	}
	return strings.Join(append(all, hex.EncodeToString(data)), ".")
}

// userData formats user data: comment and declarations as text and the rest as bytes.
func userData(data []byte, commentKind byte) string {
	var rest []byte
	comment := ""
	for len(data) >= 2 {
		end := 2 + int(data[1])
		switch {
		case commentKind == userDataSetComment && (data[0] == userDataSetKeyTypeof || data[0] == userDataSetDataTypeof):
			comment += " typeof " + decodeTypeof(data[2:end])
		case data[0] == commentKind && data[1] != 4: // byte orders have four bytes
			comment += fmt.Sprintf(" comment %q", strings.TrimSuffix(string(data[2:end]), "\x00"))
		default:
			rest = append(rest, data[:end]...)
		}
		data = data[end:]
	}
	if len(rest) > 0 {
		return " user " + words(rest) + comment
	}
	return comment
}

// decodeTypeof formats the declaration of a key or of data.
func decodeTypeof(e typeofExpr) string {
	entries := func(data []byte) (all [][]byte) {
		for ; len(data) >= 2; data = data[2+int(data[1]):] {
			all = append(all, data[2:2+int(data[1])])
		}
		return all
	}
	number := func(data []byte) uint32 { return binary.NativeEndian.Uint32(data) }
	x := entries(e)
	content := entries(x[typeofContent])
	switch number(x[typeofKind]) {
	case typeofConcat:
		var parts []string
		for _, part := range content {
			parts = append(parts, decodeTypeof(part))
		}
		return strings.Join(parts, " . ")
	case typeofPayload:
		return fmt.Sprintf("header %d field %d", number(content[payloadHeader]), number(content[payloadField]))
	case typeofMeta:
		return "meta " + metaNames()[int64(number(content[metaKey]))]
	case typeofNumgen:
		return fmt.Sprintf("numgen %d mod %d offset %d", number(content[numgenKind]), number(content[numgenModulus]), number(content[numgenOffset]))
	}
	return "?"
}

func metaNames() map[int64]string {
	return map[int64]string{nfnl.MetaPriority: "priority", nfnl.MetaMark: "mark", nfnl.MetaIifname: "iifname", nfnl.MetaL4proto: "l4proto"}
}

func register(n int64) string {
	switch n {
	case nfnl.RegVerdict:
		return "verdict"
	case missing:
		return "no register"
	}
	return fmt.Sprint("r", n-nfnl.Reg32)
}

func decodeMessage(kind, flags uint16, family uint8, a attrs) string {
	mode := map[uint16]string{0x401: "+", 0xc01: "+append", 0x1: ""}[flags]
	head := fmt.Sprintf("%d%s ", family, mode)
	switch kind {
	case nfnl.MsgNewTable:
		return head + "new table " + a.text(nfnl.TableName) + userData(a.get(nfnl.TableUserData), userDataTableComment) + "\n"
	case nfnl.MsgDelTable:
		return head + "del table " + a.text(nfnl.TableName) + "\n"
	case nfnl.MsgNewChain:
		text := head + "new chain " + a.text(nfnl.ChainTable) + " " + a.text(nfnl.ChainName)
		if hook := a.nest(nfnl.ChainHook); hook != nil {
			text += fmt.Sprintf(" hook %d priority %d type %s", hook.number(nfnl.HookNum), hook.number(nfnl.HookPriority), a.text(nfnl.ChainType))
		}
		return text + userData(a.get(nfnl.ChainUserData), userDataChainComment) + "\n"
	case nfnl.MsgDelChain:
		return head + "del chain " + a.text(nfnl.ChainTable) + " " + a.text(nfnl.ChainName) + "\n"
	case nfnl.MsgDelRule:
		return head + "del rules " + a.text(nfnl.RuleTable) + " " + a.text(nfnl.RuleChain) + "\n"
	case nfnl.MsgNewRule:
		var steps []string
		for _, e := range a.nest(nfnl.RuleExpressions) {
			x := attrsOf(e.data)
			steps = append(steps, decodeExpr(x.text(nfnl.ExprName), x.nest(nfnl.ExprData)))
		}
		return fmt.Sprintf("%srule %s %s: %s\n", head, a.text(nfnl.RuleTable), a.text(nfnl.RuleChain), strings.Join(steps, "; "))
	case nfnl.MsgNewSet:
		text := fmt.Sprintf("%snew set %s %s id %d size %d key %x/%d", head, a.text(nfnl.SetTable), a.text(nfnl.SetName),
			a.number(nfnl.SetID), a.nest(nfnl.SetDesc).number(nfnl.SetDescSize), uint32(a.number(nfnl.SetKeyType)), a.number(nfnl.SetKeyLen))
		if a.has(nfnl.SetFlags) {
			text += fmt.Sprintf(" flags %x data %x", a.number(nfnl.SetFlags), uint32(a.number(nfnl.SetDataType)))
		}
		if a.has(nfnl.SetDataLen) {
			text += fmt.Sprintf("/%d", a.number(nfnl.SetDataLen))
		}
		if a.has(nfnl.SetTimeout) {
			text += fmt.Sprintf(" timeout %d", a.number(nfnl.SetTimeout))
		}
		if a.has(nfnl.SetExpr) {
			text += " each with " + a.nest(nfnl.SetExpr).text(nfnl.ExprName)
		}
		return text + userData(a.get(nfnl.SetUserData), userDataSetComment) + "\n"
	case nfnl.MsgDelSet:
		return head + "del set " + a.text(nfnl.SetTable) + " " + a.text(nfnl.SetName) + "\n"
	case nfnl.MsgNewSetElem, nfnl.MsgDelSetElem:
		var b strings.Builder
		verb := map[uint16]string{nfnl.MsgNewSetElem: "add", nfnl.MsgDelSetElem: "remove"}[kind]
		for _, e := range a.nest(nfnl.ElemListElements) {
			fmt.Fprintf(&b, "%s%s %s %s %s\n", head, verb, a.text(nfnl.ElemListTable), a.text(nfnl.ElemListSet), decodeElement(attrsOf(e.data)))
		}
		return b.String()
	}
	return fmt.Sprintf("%smessage %d\n", head, kind)
}

func decodeElement(e attrs) string {
	text := e.nest(nfnl.ElemKey).hex()
	if e.has(nfnl.ElemData) {
		text += " : " + decodeData(e.nest(nfnl.ElemData))
	}
	if e.has(nfnl.ElemExpiration) {
		text += fmt.Sprintf(" left %d", e.number(nfnl.ElemExpiration))
	}
	return text
}

func decodeData(d attrs) string {
	if d.has(nfnl.DataValue) {
		return d.hex()
	}
	v := d.nest(nfnl.DataVerdict)
	code := map[uint32]string{nfnl.VerdictDrop: "drop", nfnl.VerdictAccept: "accept", nfnl.VerdictJump: "jump", nfnl.VerdictGoto: "goto", nfnl.VerdictReturn: "return"}[uint32(v.number(nfnl.VerdictCode))]
	return strings.TrimSpace(code + " " + v.text(nfnl.VerdictChain))
}

func decodeExpr(name string, x attrs) string {
	switch name {
	case "payload":
		base := map[int64]string{nfnl.PayloadNetwork: "network", nfnl.PayloadTransport: "transport"}[x.number(nfnl.PayloadBase)]
		return fmt.Sprintf("%s = %s %d+%d", x.reg(nfnl.PayloadDreg), base, x.number(nfnl.PayloadOffset), x.number(nfnl.PayloadLen))
	case "meta":
		key := fmt.Sprint("meta ", metaNames()[x.number(nfnl.MetaKey)])
		if x.has(nfnl.MetaSreg) {
			return key + " = " + x.reg(nfnl.MetaSreg)
		}
		return x.reg(nfnl.MetaDreg) + " = " + key
	case "ct":
		return fmt.Sprintf("%s = ct %d", x.reg(nfnl.CtDreg), x.number(nfnl.CtKey))
	case "cmp":
		op := map[int64]string{nfnl.CmpEq: "==", nfnl.CmpNeq: "!=", nfnl.CmpLt: "<"}[x.number(nfnl.CmpOp)]
		return fmt.Sprintf("%s %s %s", x.reg(nfnl.CmpSreg), op, x.nest(nfnl.CmpData).hex())
	case "byteorder":
		return fmt.Sprintf("%s = byteorder %d of %s, %d bytes", x.reg(nfnl.ByteorderDreg), x.number(nfnl.ByteorderOp), x.reg(nfnl.ByteorderSreg), x.number(nfnl.ByteorderLen))
	case "bitwise":
		return fmt.Sprintf("%s = %s+%d & %s ^ %s", x.reg(nfnl.BitwiseDreg), x.reg(nfnl.BitwiseSreg), x.number(nfnl.BitwiseLen),
			x.nest(nfnl.BitwiseMask).hex(), x.nest(nfnl.BitwiseXor).hex())
	case "lookup":
		text := fmt.Sprintf("%s[%s]", x.text(nfnl.LookupSet), x.reg(nfnl.LookupSreg))
		if x.has(nfnl.LookupDreg) {
			return x.reg(nfnl.LookupDreg) + " = " + text
		}
		return "in " + text
	case "dynset":
		op := map[int64]string{nfnl.DynsetUpdate: "update", nfnl.DynsetDelete: "delete"}[x.number(nfnl.DynsetOp)]
		return fmt.Sprintf("%s %s[%s] = %s", op, x.text(nfnl.DynsetSet), x.reg(nfnl.DynsetKey), x.reg(nfnl.DynsetData))
	case "numgen":
		kind := map[int64]string{nfnl.NumgenRandom: "random"}[x.number(nfnl.NumgenType)]
		return fmt.Sprintf("%s = %s below %d", x.reg(nfnl.NumgenDreg), kind, x.number(nfnl.NumgenModulus))
	case "hash":
		return fmt.Sprintf("%s = hash of %s+%d below %d seed %x", x.reg(nfnl.HashDreg), x.reg(nfnl.HashSreg), x.number(nfnl.HashLen), x.number(nfnl.HashModulus), x.number(nfnl.HashSeed))
	case "nat":
		kind := map[int64]string{nfnl.NATDestination: "destination"}[x.number(nfnl.NATType)]
		return fmt.Sprintf("nat %s family %d to %s port %s", kind, x.number(nfnl.NATFamily), x.reg(nfnl.NATRegAddrMin), x.reg(nfnl.NATRegProtoMin))
	case "masq":
		return fmt.Sprintf("masquerade %x", x.number(nfnl.MasqFlags))
	case "fib":
		return fmt.Sprintf("%s = fib %d of %d", x.reg(nfnl.FibDreg), x.number(nfnl.FibResult), x.number(nfnl.FibFlags))
	case "reject":
		return fmt.Sprintf("reject %d %d", x.number(nfnl.RejectType), x.number(nfnl.RejectCode))
	case "immediate":
		return x.reg(nfnl.ImmediateDreg) + " = " + decodeData(x.nest(nfnl.ImmediateData))
	}
	return name + "?"
}
