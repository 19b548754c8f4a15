// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
)

// A transaction is a [txWriter] that encodes its operations as netlink messages. It is not
// safe for concurrent use.
type transaction struct {
	family *family
	table  string
	// replaceTable deletes the table, if it exists, and creates it anew.
	replaceTable bool
	// detached leaves out the hooks: no packet passes the table.
	detached bool

	batch         nfnl.Batch
	sets          []*set
	chains        []chainSpec
	replacedRules []chainSpec // existing chains with their new rules
	deletedChains []string
	deletedSets   []*set
	pending       []setElements
	scratch       []byte // memory for one element
}

// setElements are the elements of one set to remove and to add.
type setElements struct {
	set            *set
	removed, added encodedElements
}

// maxKeptBytes is the maximum size of the element buffers that reset keeps.
const maxKeptBytes = 1 << 20

// reset empties the transaction for its next use. It keeps memory up to maxKeptBytes.
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
		total += p.removed.capacity() + p.added.capacity()
	}
	if t.pending = t.pending[:0]; total > maxKeptBytes {
		t.pending = nil
	}
	t.batch.Trim()
	t.replaceTable, t.detached = false, false
}

// empty reports whether the transaction has no operations.
func (t *transaction) empty() bool {
	for i := range t.pending {
		if t.pending[i].removed.used+t.pending[i].added.used > 0 {
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

func (t *transaction) remove(s *set, e element) {
	t.elementsOf(s).removed.append(t.family, s, &e, false)
	t.scratch = appendElement(t.scratch[:0], t.family, s, &e, true)
	s.digest -= nfnl.Digest(t.scratch[attrSize:])
}

func (t *transaction) add(s *set, e element) {
	s.digest += nfnl.Digest(t.elementsOf(s).added.append(t.family, s, &e, true))
}

// elementsOf returns the pending elements of s.
func (t *transaction) elementsOf(s *set) *setElements {
	if s.pending < len(t.pending) && t.pending[s.pending].set == s {
		return &t.pending[s.pending]
	}
	s.pending = len(t.pending)
	if s.pending < cap(t.pending) {
		t.pending = t.pending[:s.pending+1] // reuses the buffers of an earlier transaction
	} else {
		t.pending = append(t.pending, setElements{})
	}
	p := &t.pending[s.pending]
	p.set = s
	return p
}

// encode returns the transaction as a batch, which is valid until the next call.
func (t *transaction) encode() *nfnl.Batch {
	b := &t.batch
	b.Reset()
	total := 0
	for i := range t.pending {
		total += t.pending[i].removed.size() + t.pending[i].added.size()
	}
	b.Grow(total + total/256)
	if t.replaceTable {
		t.newTableMessage()
		b.Start(nfnl.MsgDelTable, 0, t.family.number)
		b.String(nfnl.TableName, t.table)
		t.newTableMessage()
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

func (t *transaction) newTableMessage() {
	b := &t.batch
	b.Start(nfnl.MsgNewTable, nfnl.FlagCreate, t.family.number)
	b.String(nfnl.TableName, t.table)
	var buf [maxUserData]byte
	b.Bytes(nfnl.TableUserData, appendComment(buf[:0], userDataTableComment, commentTable))
}

func (t *transaction) setMessage(s *set) {
	b := &t.batch
	size, keyType := s.kind.keyLayout(t.family)
	b.Start(nfnl.MsgNewSet, nfnl.FlagCreate, t.family.number)
	b.String(nfnl.SetTable, t.table)
	b.String(nfnl.SetName, s.name)
	b.Uint32(nfnl.SetID, uint32(s.index+1))
	b.Uint32(nfnl.SetKeyType, keyType)
	b.Uint32(nfnl.SetKeyLen, uint32(size))
	switch s.kind {
	case verdictsByAddress, verdictsByNodePort:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, nfnl.DataTypeVerdict)
	case slotsByIndex:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, typePriority)
		b.Uint32(nfnl.SetDataLen, 4)
	case affinityEntries:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap|nfnl.SetFlagTimeout|nfnl.SetFlagDynamic)
		b.Uint32(nfnl.SetDataType, typePriority)
		b.Uint32(nfnl.SetDataLen, 4)
		b.Uint64(nfnl.SetTimeout, uint64(s.timeout.Milliseconds()))
	case endpointsByAddress, endpointsByNodePort, endpointsBySlot:
		b.Uint32(nfnl.SetFlags, nfnl.SetFlagMap)
		b.Uint32(nfnl.SetDataType, t.family.addrType<<typeBits|typePort)
		b.Uint32(nfnl.SetDataLen, uint32(t.family.addrLen+4))
	case addresses, addressPairs: // a set without data
	}
	var buf [maxUserData]byte
	b.Bytes(nfnl.SetUserData, appendSetUserData(buf[:0], t.family, s))
	if s.counted {
		expr := b.Nest(nfnl.SetExpr)
		b.String(nfnl.ExprName, "counter")
		b.End(expr)
	}
	desc := b.Nest(nfnl.SetDesc)
	b.Uint32(nfnl.SetDescSize, uint32(s.size))
	b.End(desc)
}

func (t *transaction) chainMessage(c *chainSpec) {
	b := &t.batch
	b.Start(nfnl.MsgNewChain, nfnl.FlagCreate, t.family.number)
	b.String(nfnl.ChainTable, t.table)
	b.String(nfnl.ChainName, c.name)
	if c.hook != nil && !t.detached {
		hook := b.Nest(nfnl.ChainHook)
		b.Uint32(nfnl.HookNum, c.hook.number)
		b.Uint32(nfnl.HookPriority, uint32(c.hook.priority))
		b.End(hook)
		b.String(nfnl.ChainType, "nat")
	}
	var buf [maxUserData]byte
	b.Bytes(nfnl.ChainUserData, appendComment(buf[:0], userDataChainComment, c.comment))
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
	b := &t.batch
	for piece := range l.all {
		b.Start(kind, flags, t.family.number)
		b.String(nfnl.ElemListTable, t.table)
		b.String(nfnl.ElemListSet, s.name)
		list := b.Nest(nfnl.ElemListElements)
		b.Raw(piece)
		b.End(list)
	}
}

// User data is opaque to the kernel; nft keeps comments and how to print numbers there, as a
// list of type, length and value. These are nft's numbers.
const (
	userDataTableComment     = 0
	userDataChainComment     = 0
	userDataSetKeyByteOrder  = 0
	userDataSetDataByteOrder = 1
	userDataSetKeyTypeof     = 3
	userDataSetDataTypeof    = 4
	userDataSetComment       = 7

	byteOrderHost    = 1
	byteOrderNetwork = 2

	// maxUserData is the kernel's limit, in bytes.
	maxUserData = 256
)

// appendSetUserData appends the user data of a set: the byte order of numbers that are a key
// or data by themselves, the declarations of key and data, and the comment.
func appendSetUserData(buf []byte, f *family, s *set) []byte {
	switch s.kind {
	case endpointsBySlot:
		buf = appendByteOrders(buf, byteOrderHost, byteOrderNetwork)
	case slotsByIndex:
		buf = appendByteOrders(buf, byteOrderHost, byteOrderHost)
	case affinityEntries:
		buf = appendByteOrders(buf, byteOrderNetwork, byteOrderHost)
	default: // neither key nor data is a number by itself
	}
	if key, data := s.kind.declaration(f); key != nil {
		buf = appendEntry(buf, userDataSetKeyTypeof, key)
		buf = appendEntry(buf, userDataSetDataTypeof, data)
	}
	return appendComment(buf, userDataSetComment, s.comment)
}

func appendByteOrders(buf []byte, key, data uint32) []byte {
	buf = binary.NativeEndian.AppendUint32(append(buf, userDataSetKeyByteOrder, 4), key)
	return binary.NativeEndian.AppendUint32(append(buf, userDataSetDataByteOrder, 4), data)
}

// appendComment appends a comment, which must be shorter than nft's limit of 128 bytes.
func appendComment(buf []byte, kind byte, comment string) []byte {
	buf = append(buf, kind, byte(len(comment)+1))
	return append(append(buf, comment...), 0)
}
