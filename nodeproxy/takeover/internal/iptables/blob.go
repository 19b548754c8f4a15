// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// hookCount is the number of hooks of the kernel, builtinNames the chains at them.
const hookCount = 5

func builtinNames() [hookCount]string {
	return [hookCount]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
}

// A layout has the offsets of a rule's fields in bytes: ipt_entry or ip6t_entry of the
// kernel's interface for 64-bit programs. Matches follow, then the target.
type layout struct {
	targetOffset, nextOffset int
	size                     int
}

func layout4() layout { return layout{targetOffset: 88, nextOffset: 90, size: 112} }
func layout6() layout { return layout{targetOffset: 140, nextOffset: 142, size: 168} }

// Offsets in a target, xt_entry_target, and the lengths of names.
const (
	targetName    = 2
	targetNameLen = 29
	targetData    = 32 // the verdict, or the name of a chain
	verdictLen    = 4
	chainNameLen  = 30

	noVerdict   = -1 << 31
	errorTarget = "ERROR"
)

// A blob is the content of a legacy table as the kernel gets and returns it: the rules of
// all chains one after the other. Jumps are offsets. Each user-defined chain begins with an
// entry that has its name, and ends with one that returns. Built-in chains end with an
// entry for their policy. The last entry ends the table.
type blob struct {
	layout               layout
	numEntries           int
	validHooks           uint32
	hookEntry, underflow [hookCount]uint32
	data                 []byte

	entries []entry
	chains  []blobChain
	// chainByFirstRule has the index of each user-defined chain by the offset behind its
	// name, which is where jumps lead.
	chainByFirstRule map[int]int
}

// An entry is a rule, or an entry that begins or ends a chain.
type entry struct {
	offset, size int
	verdictAt    int   // offset in the entry
	verdict      int32 // noVerdict: the target is not a verdict
}

// A blobChain is the range of entries [first, last]; last is its policy or its return.
type blobChain struct {
	name        string
	builtin     bool
	first, last int
}

// rules returns the range of rules of a chain, without the entries that begin and end it.
func (c *blobChain) rules() (from, to int) {
	if c.builtin {
		return c.first, c.last
	}
	return c.first + 1, c.last
}

// parse divides b.data into entries and chains.
func (b *blob) parse() error {
	open := false // a chain without its end
	for offset := 0; offset < len(b.data); {
		e, errorName, err := b.entryAt(offset)
		if err != nil {
			return err
		}
		i := len(b.entries)
		b.entries = append(b.entries, e)
		offset += e.size
		if offset == len(b.data) {
			if errorName == nil {
				return fmt.Errorf("entry at offset %d: want the end of the table", e.offset)
			}
			break
		}
		if hook := b.hookAt(b.hookEntry, e.offset); hook >= 0 {
			b.chains = append(b.chains, blobChain{name: builtinNames()[hook], builtin: true, first: i})
		} else if errorName != nil {
			b.chains = append(b.chains, blobChain{name: *errorName, first: i})
		} else if !open {
			return fmt.Errorf("entry at offset %d belongs to no chain", e.offset)
		}
		c := &b.chains[len(b.chains)-1]
		c.last = i
		open = !c.builtin || b.hookAt(b.underflow, e.offset) < 0
	}
	if len(b.entries) != b.numEntries {
		return fmt.Errorf("%d entries, want %d", len(b.entries), b.numEntries)
	}
	b.chainByFirstRule = map[int]int{}
	for i, c := range b.chains {
		if c.builtin {
			continue
		}
		if c.last == c.first {
			return fmt.Errorf("chain %s has no end", c.name)
		}
		b.chainByFirstRule[b.entries[c.first+1].offset] = i
	}
	return nil
}

// hookAt returns the hook whose element of offsets is offset, or -1.
func (b *blob) hookAt(offsets [hookCount]uint32, offset int) int {
	for hook, at := range offsets {
		if b.validHooks&(1<<hook) != 0 && int(at) == offset {
			return hook
		}
	}
	return -1
}

// entryAt parses one entry. errorName is that of an ERROR target, otherwise nil.
func (b *blob) entryAt(offset int) (e entry, errorName *string, err error) {
	data := b.data[offset:]
	if len(data) < b.layout.size {
		return e, nil, fmt.Errorf("entry at offset %d: %d bytes left, want at least %d", offset, len(data), b.layout.size)
	}
	target := int(binary.NativeEndian.Uint16(data[b.layout.targetOffset:]))
	size := int(binary.NativeEndian.Uint16(data[b.layout.nextOffset:]))
	if target < b.layout.size || target+targetData > size || size > len(data) {
		return e, nil, fmt.Errorf("entry at offset %d: target at %d in %d bytes, %d left", offset, target, size, len(data))
	}
	e = entry{offset: offset, size: size, verdict: noVerdict}
	switch name := cString(data[target+targetName:][:targetNameLen]); {
	case name == "" && target+targetData+verdictLen <= size:
		e.verdictAt = target + targetData
		e.verdict = int32(binary.NativeEndian.Uint32(data[e.verdictAt:]))
	case name == errorTarget && target+targetData+chainNameLen <= size:
		text := cString(data[target+targetData:][:chainNameLen])
		errorName = &text
	}
	return e, errorName, nil
}

func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

// jumpTarget returns the chain to which entry i jumps or goes. A rule without target is
// stored as a jump to the entry that follows it.
func (b *blob) jumpTarget(i int) (target *blobChain, err error) {
	e := b.entries[i]
	if e.verdict < 0 || int(e.verdict) == e.offset+e.size {
		return nil, nil
	}
	c, found := b.chainByFirstRule[int(e.verdict)]
	if !found {
		return nil, fmt.Errorf("rule at offset %d jumps to offset %d, which is no chain", e.offset, e.verdict)
	}
	return &b.chains[c], nil
}

// list returns the chains with the targets of their rules.
func (b *blob) list() ([]chain, error) {
	chains := make([]chain, len(b.chains))
	for i, c := range b.chains {
		from, to := c.rules()
		chains[i] = chain{name: c.name, builtin: c.builtin, targets: make([][]string, to-from)}
		for j := from; j < to; j++ {
			target, err := b.jumpTarget(j)
			if err != nil {
				return nil, err
			}
			if target != nil {
				chains[i].targets[j-from] = []string{target.name}
			}
		}
	}
	return chains, nil
}

// A newBlob is the content of a table after an edit.
type newBlob struct {
	hookEntry, underflow [hookCount]uint32
	data                 []byte
	// from has the index of each entry before the edit.
	from []int
}

// apply returns the content after the edit.
func (b *blob) apply(e edit) (*newBlob, error) {
	keep := b.remaining(e)
	offsets := make([]int, len(b.entries)) // of each entry, or of the next one that remains
	out := &newBlob{}
	size := 0
	for i, old := range b.entries {
		offsets[i] = size
		if keep[i] {
			size += old.size
			out.from = append(out.from, i)
		}
	}
	out.data = make([]byte, 0, size)
	for _, i := range out.from {
		old := b.entries[i]
		at := len(out.data)
		out.data = append(out.data, b.data[old.offset:][:old.size]...)
		target, err := b.jumpTarget(i)
		switch {
		case err != nil:
			return nil, err
		case target != nil && !keep[target.first]:
			return nil, fmt.Errorf("rule at offset %d jumps to chain %s, which the edit deletes", old.offset, target.name)
		case target != nil:
			binary.NativeEndian.PutUint32(out.data[at+old.verdictAt:], uint32(offsets[target.first]+b.entries[target.first].size))
		case old.verdict >= 0:
			binary.NativeEndian.PutUint32(out.data[at+old.verdictAt:], uint32(at+old.size))
		}
	}
	index := make(map[uint32]int, len(b.entries))
	for i, old := range b.entries {
		index[uint32(old.offset)] = i
	}
	for hook := range hookCount {
		if b.validHooks&(1<<hook) == 0 {
			continue
		}
		first, found := index[b.hookEntry[hook]]
		last, ends := index[b.underflow[hook]]
		if !found || !ends {
			return nil, fmt.Errorf("chain %s: no entries at offsets %d and %d", builtinNames()[hook], b.hookEntry[hook], b.underflow[hook])
		}
		out.hookEntry[hook], out.underflow[hook] = uint32(offsets[first]), uint32(offsets[last])
	}
	return out, nil
}

// remaining reports for each entry whether it remains after the edit.
func (b *blob) remaining(e edit) []bool {
	keep := make([]bool, len(b.entries))
	for i := range keep {
		keep[i] = true
	}
	deleted, flushed := nameSet(e.delete), nameSet(e.flush)
	for _, c := range b.chains {
		from, to := c.rules()
		switch {
		case c.builtin:
			for _, rule := range e.rules[c.name] {
				keep[from+rule] = false
			}
		case deleted[c.name]:
			from, to = c.first, c.last+1
			fallthrough
		case flushed[c.name]:
			for i := from; i < to; i++ {
				keep[i] = false
			}
		}
	}
	return keep
}

func nameSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}
