// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// A transaction is a [script] that becomes messages for the kernel.
type transaction struct {
	family *family
	table  string
	// replace starts from nothing: the table of that name, if there is one, goes
	// away in the same instant.
	replace bool
	// detached leaves out the hooks: no packet would ever come by.
	detached bool

	batch   nfnl.Batch
	sets    []*set
	chains  []chainSpec
	changed []chainSpec // those that exist
	dropped []string
	gone    []*set
	pending []pending // of the sets that are touched
}

// pending is what is to happen to one set.
type pending struct {
	set            *set
	removed, added elements
}

// elements are encoded elements, cut into pieces that fit into a message each.
type elements struct {
	buf    []byte
	pieces []int // where each full piece ends
	count  int   // elements in the last piece
}

// Limits of one message. Its list of elements has a length of 16 bits, and about
// a thousand elements are where larger messages stop being cheaper.
const (
	pieceElements = 1000
	pieceBytes    = 60000
	keepBytes     = 1 << 20
)

// reset empties the transaction for its next use, and keeps memory unless that is
// a great deal.
func (t *transaction) reset() {
	clear(t.sets)
	clear(t.chains)
	clear(t.changed)
	clear(t.gone)
	t.sets, t.chains, t.dropped = t.sets[:0], t.chains[:0], t.dropped[:0]
	t.changed, t.gone = t.changed[:0], t.gone[:0]
	total := 0
	for i := range t.pending {
		p := &t.pending[i]
		p.set = nil
		p.removed.reset()
		p.added.reset()
		total += cap(p.removed.buf) + cap(p.added.buf)
	}
	if t.pending = t.pending[:0]; total > keepBytes {
		t.pending = nil
	}
	t.replace, t.detached = false, false
}

func (e *elements) reset() { e.buf, e.pieces, e.count = e.buf[:0], e.pieces[:0], 0 }

// empty tells whether there is nothing to do.
func (t *transaction) empty() bool {
	for i := range t.pending {
		if len(t.pending[i].removed.buf)+len(t.pending[i].added.buf) > 0 {
			return false
		}
	}
	return !t.replace && len(t.sets)+len(t.chains)+len(t.changed)+len(t.dropped)+len(t.gone) == 0
}

func (t *transaction) newSet(s *set)         { t.sets = append(t.sets, s) }
func (t *transaction) newChain(c chainSpec)  { t.chains = append(t.chains, c) }
func (t *transaction) setRules(c chainSpec)  { t.changed = append(t.changed, c) }
func (t *transaction) dropChain(name string) { t.dropped = append(t.dropped, name) }
func (t *transaction) dropSet(s *set)        { t.gone = append(t.gone, s) }

func (t *transaction) of(s *set) *pending {
	if s.pending < len(t.pending) && t.pending[s.pending].set == s {
		return &t.pending[s.pending]
	}
	s.pending = len(t.pending)
	if s.pending < cap(t.pending) {
		t.pending = t.pending[:s.pending+1] // with the memory of an earlier use
	} else {
		t.pending = append(t.pending, pending{})
	}
	p := &t.pending[s.pending]
	p.set = s
	return p
}

func (t *transaction) remove(s *set, e element) {
	t.of(s).removed.append(t.family, s, &e, false)
}

func (t *transaction) add(s *set, e element) {
	t.of(s).added.append(t.family, s, &e, true)
}

func (l *elements) append(f *family, s *set, e *element, withData bool) {
	start := 0
	if n := len(l.pieces); n > 0 {
		start = l.pieces[n-1]
	}
	keySize, _ := s.kind.key(f)
	size := 2*attrSize + keySize
	if withData {
		size += dataSize(f, s, e)
	}
	if l.count == pieceElements || len(l.buf)-start+attrSize+size > pieceBytes {
		l.pieces = append(l.pieces, len(l.buf))
		l.count = 0
	}
	l.count++
	buf := nfnl.AppendNest(l.buf, nfnl.ListElem, size)
	buf = nfnl.AppendNest(buf, nfnl.ElemKey, attrSize+keySize)
	buf = nfnl.AppendAttr(buf, nfnl.DataValue, keySize)
	buf = appendKey(buf, s.kind, e)
	if withData {
		buf = appendData(buf, f, s, e)
	}
	l.buf = buf
}

// attrSize is the size of an attribute's header.
const attrSize = 4

func appendKey(buf []byte, kind setKind, e *element) []byte {
	addr := e.key.addr.Addr()
	switch kind {
	case addresses, pins:
		return appendAddr(buf, addr)
	case slotsAlone, draws:
		return binary.NativeEndian.AppendUint32(buf, e.slot)
	case addressPairs:
		return appendAddr(appendAddr(buf, addr), addr)
	case verdictsByAddress, slotsByAddress:
		buf = appendAddr(buf, addr)
	}
	buf = append(buf, byte(e.key.proto), 0, 0, 0)
	buf = appendPort(buf, e.key.addr.Port())
	if kind == slotsByAddress || kind == slotsByNodePort {
		buf = binary.NativeEndian.AppendUint32(buf, e.slot)
	}
	return buf
}

func appendPort(buf []byte, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16(buf, port), 0, 0)
}

// leftSize is the size of the attribute that says when an element ends.
const leftSize = attrSize + 8

func dataSize(f *family, s *set, e *element) int {
	switch s.kind {
	case slotsByAddress, slotsByNodePort, slotsAlone:
		return 2*attrSize + f.addrLen + 4
	case draws:
		return 2*attrSize + 4
	case pins:
		return leftSize + 2*attrSize + 4
	case verdictsByAddress, verdictsByNodePort:
		return 2*attrSize + attrSize + 4 + nfnl.StringSize(e.chain)
	}
	return 0
}

func appendData(buf []byte, f *family, s *set, e *element) []byte {
	size := dataSize(f, s, e)
	if size == 0 {
		return buf
	}
	if s.kind == pins {
		buf = nfnl.AppendAttr(buf, nfnl.ElemExpiration, leftSize-attrSize)
		buf = binary.BigEndian.AppendUint64(buf, uint64(e.left.Milliseconds()))
		size -= leftSize
	}
	buf = nfnl.AppendNest(buf, nfnl.ElemData, size-attrSize)
	switch s.kind {
	case pins, draws:
		buf = nfnl.AppendAttr(buf, nfnl.DataValue, 4)
		return binary.NativeEndian.AppendUint32(buf, e.to)
	case slotsByAddress, slotsByNodePort, slotsAlone:
		buf = nfnl.AppendAttr(buf, nfnl.DataValue, size-2*attrSize)
		buf = appendAddr(buf, e.value.Addr())
		return appendPort(buf, e.value.Port())
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

// encode returns the transaction as a batch, which stays valid until the next
// call.
func (t *transaction) encode() *nfnl.Batch {
	b := &t.batch
	b.Reset()
	total := 0
	for i := range t.pending {
		total += len(t.pending[i].removed.buf) + len(t.pending[i].added.buf)
	}
	b.Grow(total + total/256)
	if t.replace {
		t.tableMessage(nfnl.MsgNewTable, nfnl.FlagCreate)
		t.tableMessage(nfnl.MsgDelTable, 0)
		t.tableMessage(nfnl.MsgNewTable, nfnl.FlagCreate)
	}
	for _, s := range t.sets {
		t.setMessage(s)
	}
	for i := range t.chains {
		t.chainMessage(&t.chains[i])
	}
	for i := range t.changed {
		b.Start(nfnl.MsgDelRule, 0, t.family.number) // all rules of the chain
		b.String(nfnl.RuleTable, t.table)
		b.String(nfnl.RuleChain, t.changed[i].name)
	}
	for _, chains := range [][]chainSpec{t.chains, t.changed} {
		for i := range chains {
			for _, r := range chains[i].rules {
				t.ruleMessage(chains[i].name, r)
			}
		}
	}
	for i := range t.pending {
		t.elementMessages(nfnl.MsgDelSetElem, 0, t.pending[i].set, &t.pending[i].removed)
	}
	for i := range t.pending {
		t.elementMessages(nfnl.MsgNewSetElem, nfnl.FlagCreate, t.pending[i].set, &t.pending[i].added)
	}
	for _, name := range t.dropped {
		b.Start(nfnl.MsgDelChain, 0, t.family.number)
		b.String(nfnl.ChainTable, t.table)
		b.String(nfnl.ChainName, name)
	}
	for _, s := range t.gone {
		b.Start(nfnl.MsgDelSet, 0, t.family.number)
		b.String(nfnl.SetTable, t.table)
		b.String(nfnl.SetName, s.name)
	}
	return b
}

func (t *transaction) tableMessage(kind, flags uint16) {
	t.batch.Start(kind, flags, t.family.number)
	t.batch.String(nfnl.TableName, t.table)
}

func (t *transaction) setMessage(s *set) {
	b := &t.batch
	size, label := s.kind.key(t.family)
	b.Start(nfnl.MsgNewSet, nfnl.FlagCreate, t.family.number)
	b.String(nfnl.SetTable, t.table)
	b.String(nfnl.SetName, s.name)
	b.Uint32(nfnl.SetID, uint32(s.index+1))
	b.Uint32(nfnl.SetKeyType, label)
	b.Uint32(nfnl.SetKeyLen, uint32(size))
	switch s.kind {
	case verdictsByAddress, verdictsByNodePort:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, nfnl.DataTypeVerdict)
	case draws:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, labelMark)
		b.Uint32(nfnl.SetDataLen, 4)
	case pins:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap|nfnl.SetFlagTimeout|nfnl.SetFlagDynamic)
		b.Uint32(nfnl.SetDataType, labelMark)
		b.Uint32(nfnl.SetDataLen, 4)
		b.Uint64(nfnl.SetTimeout, uint64(s.timeout.Milliseconds()))
	case slotsByAddress, slotsByNodePort, slotsAlone:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, t.family.label<<labelBits|labelPort)
		b.Uint32(nfnl.SetDataLen, uint32(t.family.addrLen+4))
	}
	switch s.kind {
	case slotsAlone:
		b.Bytes(nfnl.SetUserData, byteOrders(hostOrder, networkOrder))
	case draws:
		b.Bytes(nfnl.SetUserData, byteOrders(hostOrder, hostOrder))
	case pins:
		b.Bytes(nfnl.SetUserData, byteOrders(networkOrder, hostOrder))
	}
	desc := b.Nest(nfnl.SetDesc)
	b.Uint32(nfnl.SetDescSize, uint32(s.size))
	b.End(desc)
}

// nft's numbers for the order of bytes.
const (
	hostOrder    = 1
	networkOrder = 2
)

// byteOrders tells nft, not the kernel, how to print numbers that stand alone.
func byteOrders(key, data uint32) []byte {
	buf := binary.NativeEndian.AppendUint32([]byte{0, 4}, key)
	return binary.NativeEndian.AppendUint32(append(buf, 1, 4), data)
}

func (t *transaction) chainMessage(c *chainSpec) {
	b := &t.batch
	b.Start(nfnl.MsgNewChain, nfnl.FlagCreate, t.family.number)
	b.String(nfnl.ChainTable, t.table)
	b.String(nfnl.ChainName, c.name)
	if c.hook == nil || t.detached {
		return
	}
	hook := b.Nest(nfnl.ChainHook)
	b.Uint32(nfnl.HookNum, c.hook.number)
	b.Uint32(nfnl.HookPriority, uint32(c.hook.priority))
	b.End(hook)
	b.String(nfnl.ChainType, "nat")
}

func (t *transaction) ruleMessage(chain string, r rule) {
	b := &t.batch
	b.Start(nfnl.MsgNewRule, nfnl.FlagCreate|nfnl.FlagAppend, t.family.number)
	b.String(nfnl.RuleTable, t.table)
	b.String(nfnl.RuleChain, chain)
	list := b.Nest(nfnl.RuleExpressions)
	for _, step := range r {
		step(b)
	}
	b.End(list)
}

func (t *transaction) elementMessages(kind, flags uint16, s *set, l *elements) {
	b, start := &t.batch, 0
	for i := 0; start < len(l.buf); i++ {
		end := len(l.buf)
		if i < len(l.pieces) {
			end = l.pieces[i]
		}
		b.Start(kind, flags, t.family.number)
		b.String(nfnl.ElemListTable, t.table)
		b.String(nfnl.ElemListSet, s.name)
		list := b.Nest(nfnl.ElemListElements)
		b.Raw(l.buf[start:end])
		b.End(list)
		start = end
	}
}
