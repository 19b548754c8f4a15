// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// A transaction is a [txWriter] that becomes messages for the kernel.
type transaction struct {
	family *family
	table  string
	// replaceTable starts from nothing: the table of that name, if there is one, goes
	// away in the same instant.
	replaceTable bool
	// detached leaves out the hooks: no packet would ever come by.
	detached bool

	batch   nfnl.Batch
	sets    []*set
	chains  []chainSpec
	replacedRules []chainSpec // those that exist
	deletedChains []string
	deletedSets    []*set
	pending []setElements // of the sets that are touched
}

// setElements is what is to happen to one set.
type setElements struct {
	set            *set
	removed, added encodedElements
}

// encodedElements are encoded elements, cut into pieces that fit into a message each.
type encodedElements struct {
	buf    []byte
	pieceEnds []int // where each full piece ends
	inLastPiece  int   // elements in the last piece
}

// Limits of one message. Its list of elements has a length of 16 bits, and about
// a thousand elements are where larger messages stop being cheaper.
const (
	pieceElements = 1000
	pieceBytes    = 60000
	maxKeptBytes     = 1 << 20
)

// reset empties the transaction for its next use, and keeps memory unless that is
// a great deal.
func (t *transaction) reset() {
	clear(t.sets)
	clear(t.chains)
	clear(t.replacedRules)
	clear(t.deletedSets)
	t.sets, t.chains, t.deletedChains = t.sets[:0], t.chains[:0], t.deletedChains[:0]
	t.replacedRules, t.deletedSets = t.replacedRules[:0], t.deletedSets[:0]
	total := 0
	for i := range t.pending {
		p := &t.pending[i]
		p.set = nil
		p.removed.reset()
		p.added.reset()
		total += cap(p.removed.buf) + cap(p.added.buf)
	}
	if t.pending = t.pending[:0]; total > maxKeptBytes {
		t.pending = nil
	}
	t.replaceTable, t.detached = false, false
}

func (e *encodedElements) reset() { e.buf, e.pieceEnds, e.inLastPiece = e.buf[:0], e.pieceEnds[:0], 0 }

// empty tells whether there is nothing to do.
func (t *transaction) empty() bool {
	for i := range t.pending {
		if len(t.pending[i].removed.buf)+len(t.pending[i].added.buf) > 0 {
			return false
		}
	}
	return !t.replaceTable && len(t.sets)+len(t.chains)+len(t.replacedRules)+len(t.deletedChains)+len(t.deletedSets) == 0
}

func (t *transaction) newSet(s *set)         { t.sets = append(t.sets, s) }
func (t *transaction) newChain(c chainSpec)  { t.chains = append(t.chains, c) }
func (t *transaction) setRules(c chainSpec)  { t.replacedRules = append(t.replacedRules, c) }
func (t *transaction) dropChain(name string) { t.deletedChains = append(t.deletedChains, name) }
func (t *transaction) dropSet(s *set)        { t.deletedSets = append(t.deletedSets, s) }

func (t *transaction) elementsOf(s *set) *setElements {
	if s.pending < len(t.pending) && t.pending[s.pending].set == s {
		return &t.pending[s.pending]
	}
	s.pending = len(t.pending)
	if s.pending < cap(t.pending) {
		t.pending = t.pending[:s.pending+1] // with the memory of an earlier use
	} else {
		t.pending = append(t.pending, setElements{})
	}
	p := &t.pending[s.pending]
	p.set = s
	return p
}

func (t *transaction) remove(s *set, e element) {
	t.elementsOf(s).removed.append(t.family, s, &e, false)
}

func (t *transaction) add(s *set, e element) {
	t.elementsOf(s).added.append(t.family, s, &e, true)
}

func (l *encodedElements) append(f *family, s *set, e *element, withData bool) {
	start := 0
	if n := len(l.pieceEnds); n > 0 {
		start = l.pieceEnds[n-1]
	}
	keySize, _ := s.kind.keyLayout(f)
	size := 2*attrSize + keySize
	if withData {
		size += dataSize(f, s, e)
	}
	if l.inLastPiece == pieceElements || len(l.buf)-start+attrSize+size > pieceBytes {
		l.pieceEnds = append(l.pieceEnds, len(l.buf))
		l.inLastPiece = 0
	}
	l.inLastPiece++
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
	case addresses, affinityEntries:
		return appendAddr(buf, addr)
	case endpointsBySlot, slotsByIndex:
		return binary.NativeEndian.AppendUint32(buf, e.slot)
	case addressPairs:
		return appendAddr(appendAddr(buf, addr), addr)
	case verdictsByAddress, endpointsByAddress:
		buf = appendAddr(buf, addr)
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

// expirationSize is the size of the attribute that says when an element ends.
const expirationSize = attrSize + 8

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
	if t.replaceTable {
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
	for i := range t.replacedRules {
		b.Start(nfnl.MsgDelRule, 0, t.family.number) // all rules of the chain
		b.String(nfnl.RuleTable, t.table)
		b.String(nfnl.RuleChain, t.replacedRules[i].name)
	}
	for _, chains := range [][]chainSpec{t.chains, t.replacedRules} {
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
	for _, name := range t.deletedChains {
		b.Start(nfnl.MsgDelChain, 0, t.family.number)
		b.String(nfnl.ChainTable, t.table)
		b.String(nfnl.ChainName, name)
	}
	for _, s := range t.deletedSets {
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
	size, label := s.kind.keyLayout(t.family)
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
	case slotsByIndex:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, typeMark)
		b.Uint32(nfnl.SetDataLen, 4)
	case affinityEntries:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap|nfnl.SetFlagTimeout|nfnl.SetFlagDynamic)
		b.Uint32(nfnl.SetDataType, typeMark)
		b.Uint32(nfnl.SetDataLen, 4)
		b.Uint64(nfnl.SetTimeout, uint64(s.timeout.Milliseconds()))
	case endpointsByAddress, endpointsByNodePort, endpointsBySlot:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, t.family.addrType<<typeBits|typePort)
		b.Uint32(nfnl.SetDataLen, uint32(t.family.addrLen+4))
	}
	switch s.kind {
	case endpointsBySlot:
		b.Bytes(nfnl.SetUserData, byteOrders(hostOrder, networkOrder))
	case slotsByIndex:
		b.Bytes(nfnl.SetUserData, byteOrders(hostOrder, hostOrder))
	case affinityEntries:
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

func (t *transaction) elementMessages(kind, flags uint16, s *set, l *encodedElements) {
	b, start := &t.batch, 0
	for i := 0; start < len(l.buf); i++ {
		end := len(l.buf)
		if i < len(l.pieceEnds) {
			end = l.pieceEnds[i]
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
