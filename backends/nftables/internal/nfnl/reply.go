// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"syscall"
	"time"
)

// ErrOverrun means that the kernel sent more than the socket buffer holds: the outcome of a
// transaction is unknown.
var ErrOverrun = errors.New("netlink socket overrun")

// An Error means that the kernel refused a transaction, which had no effect.
type Error struct {
	Errno syscall.Errno
	// Detail is the kernel's explanation; it may be empty.
	Detail string
	// Message is the number of the refused message in the batch, from one; zero means the
	// batch as a whole.
	Message int
}

// Error returns the number of the message, the error number and the explanation.
func (e *Error) Error() string {
	s := fmt.Sprintf("nf_tables refused message %d: %v", e.Message, e.Errno)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns e.Errno.
func (e *Error) Unwrap() error { return e.Errno }

// AddGenerations returns the generation of the rules after n more transactions.
func AddGenerations(generation uint32, n uint64) uint32 {
	const numbers = 1<<32 - 1 // without zero
	return uint32((uint64(generation)-1+n%numbers)%numbers) + 1
}

// A header is the header of a netlink message.
type header struct {
	kind, flags uint16
	seq         uint32
}

// eachMessage calls f for each message in a datagram.
func eachMessage(data []byte, f func(h header, body []byte)) error {
	for len(data) >= nlmsgHeaderLen {
		size := int(binary.NativeEndian.Uint32(data))
		if size < nlmsgHeaderLen || size > len(data) {
			return fmt.Errorf("netlink message of %d bytes in a datagram of %d", size, len(data))
		}
		f(header{
			kind:  binary.NativeEndian.Uint16(data[4:]),
			flags: binary.NativeEndian.Uint16(data[6:]),
			seq:   binary.NativeEndian.Uint32(data[8:]),
		}, data[nlmsgHeaderLen:size])
		data = data[min((size+3)&^3, len(data)):]
	}
	return nil
}

// nextAttr returns the content of the first attribute of that type, and what follows it. It
// returns nil if there is none.
func nextAttr(data []byte, attr uint16) (content, rest []byte) {
	for len(data) >= attrHeaderLen {
		size := int(binary.NativeEndian.Uint16(data))
		if size < attrHeaderLen || size > len(data) {
			return nil, nil
		}
		rest = data[min((size+3)&^3, len(data)):]
		if binary.NativeEndian.Uint16(data[2:])&^nestedFlag == attr {
			return data[attrHeaderLen:size], rest
		}
		data = rest
	}
	return nil, nil
}

// findAttr returns the content of the first attribute of that type, or nil.
func findAttr(data []byte, attr uint16) []byte {
	content, _ := nextAttr(data, attr)
	return content
}

// eachAttr calls f for each attribute of that type.
func eachAttr(data []byte, attr uint16, f func(content []byte)) {
	for {
		content, rest := nextAttr(data, attr)
		if content == nil {
			return
		}
		f(content)
		data = rest
	}
}

// text returns a NUL-terminated string.
func text(attr []byte) string { return string(bytes.TrimRight(attr, "\x00")) }

// A Table is the state of a table.
type Table struct {
	// Objects is the number of its chains and sets.
	Objects int
	// Flags are properties that the table may have beside its content, such as being dormant.
	Flags uint32
}

// An Object is a chain, a rule or a set of a table. The kernel numbers the objects of a table in
// the order of their creation.
type Object struct {
	// Kind is MsgNewChain, MsgNewRule or MsgNewSet.
	Kind   uint16
	Handle uint64
	// Name is the name of the chain or set, and of the chain of a rule.
	Name string
	// Drops reports whether the policy of a chain is to drop.
	Drops bool
	// Elements is the number of elements of a set, or -1 if the kernel does not return it. Linux
	// 6.18 does.
	Elements int
}

// An Element is an element of a set or map as the kernel holds it.
type Element struct {
	Key []byte
	// Data is the value of the key; empty for sets and for verdicts.
	Data []byte
	// Chain is the target of a verdict; empty for others.
	Chain string
	// Expires is the remaining lifetime; zero for elements without timeout.
	Expires time.Duration
	// Counted reports whether the element has a counter, and Packets is how often packets have
	// found it.
	Counted bool
	Packets uint64
}

// ParseElements yields the elements in the content of the attribute ElemListElements.
func ParseElements(list []byte) iter.Seq[Element] {
	return func(yield func(Element) bool) {
		for {
			elem, rest := nextAttr(list, ListElem)
			if elem == nil || !yield(parseElement(elem)) {
				return
			}
			list = rest
		}
	}
}

func parseElement(elem []byte) Element {
	data := findAttr(elem, ElemData)
	e := Element{
		Key:   bytes.Clone(findAttr(findAttr(elem, ElemKey), DataValue)),
		Data:  bytes.Clone(findAttr(data, DataValue)),
		Chain: text(findAttr(findAttr(data, DataVerdict), VerdictChain)),
	}
	if expiration := findAttr(elem, ElemExpiration); len(expiration) == 8 {
		e.Expires = time.Duration(binary.BigEndian.Uint64(expiration)) * time.Millisecond
	}
	if packets := findAttr(findAttr(findAttr(elem, elemExpr), ExprData), counterPackets); len(packets) == 8 {
		e.Counted, e.Packets = true, binary.BigEndian.Uint64(packets)
	}
	return e
}

// MaxGet is the maximum number of elements for one call of [Conn.Get], for whose replies the
// receive buffer has room.
const MaxGet = 100

// An elementList is the reply to one request for the elements of a set.
type elementList struct {
	seq  uint32
	each func(elem []byte) // is called with the content of each attribute ListElem
	done bool
	err  *Error
}

func (l *elementList) add(datagram []byte) error {
	return eachMessage(datagram, func(h header, body []byte) {
		switch {
		case h.seq != l.seq:
		case h.kind == nlmsgDone:
			l.done = true
		case h.kind == nlmsgError && len(body) >= 4:
			if errno := syscall.Errno(-int32(binary.NativeEndian.Uint32(body))); errno != 0 {
				l.err = &Error{Errno: errno, Detail: errorDetail(h.flags, body), Message: 1}
			} else {
				l.done = true
			}
		case h.kind == subsysNftables<<8|MsgNewSetElem && len(body) >= nfgenmsgLen:
			eachAttr(findAttr(body[nfgenmsgLen:], ElemListElements), ListElem, l.each)
		}
	})
}

// A batchResult is the reply to one batch, whose messages have the sequence numbers
// [first, end).
type batchResult struct {
	first, end uint32
	acked      bool
	err        *Error
}

// add parses one datagram and ignores replies to other batches.
func (o *batchResult) add(datagram []byte) error {
	return eachMessage(datagram, func(h header, body []byte) {
		number := h.seq - o.first
		if h.kind != nlmsgError || len(body) < 4 || number >= o.end-o.first {
			return
		}
		errno := syscall.Errno(-int32(binary.NativeEndian.Uint32(body)))
		if errno == 0 {
			o.acked = true
		} else if o.err == nil {
			o.err = &Error{Errno: errno, Detail: errorDetail(h.flags, body), Message: int(number)}
		}
	})
}

// result returns nil if the kernel applied the batch.
func (o *batchResult) result() error {
	if o.err != nil {
		return o.err
	}
	if !o.acked {
		return errors.New("nf_tables did not acknowledge the transaction")
	}
	return nil
}

// errorDetail returns the kernel's explanation in an error message. It follows the original
// message, of which capped replies contain only the header.
func errorDetail(flags uint16, body []byte) string {
	const original = 4
	if flags&flagAckTLVs == 0 || len(body) < original+nlmsgHeaderLen {
		return ""
	}
	size := nlmsgHeaderLen
	if flags&flagCapped == 0 {
		size = int(binary.NativeEndian.Uint32(body[original:])+3) &^ 3
	}
	if original+size > len(body) {
		return ""
	}
	return string(bytes.TrimRight(findAttr(body[original+size:], errAttrMessage), "\x00"))
}
