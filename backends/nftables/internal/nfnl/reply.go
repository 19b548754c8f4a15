// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"syscall"
	"time"
)

// ErrOverrun means that the kernel sent more than the socket buffer holds: the outcome of a
// transaction, or whether a table changed, is unknown.
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

// errRestart is ERESTART of Linux.
const errRestart = syscall.Errno(85)

// IsOtherGeneration reports whether err means that the kernel refused a batch because of
// [Batch.SetGeneration].
func IsOtherGeneration(err error) bool { return errors.Is(err, errRestart) }

// NextGeneration returns the generation of the rules after one more transaction.
func NextGeneration(generation uint32) uint32 {
	if generation == 1<<32-1 {
		return 1
	}
	return generation + 1
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
	seq      uint32
	elements []Element
	done     bool
	err      *Error
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
			l.elements = slices.AppendSeq(l.elements, ParseElements(findAttr(body[nfgenmsgLen:], ElemListElements)))
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

// concernsTable reports whether a notification is about the table of that name, for IPv4 or
// IPv6. In all messages of nf_tables but one, the first attribute is the table.
func concernsTable(h header, body []byte, table string) bool {
	if h.kind>>8 != subsysNftables || h.kind&0xff == msgNewGen || len(body) < nfgenmsgLen {
		return false
	}
	if family := body[0]; family != FamilyIPv4 && family != FamilyIPv6 {
		return false
	}
	return text(findAttr(body[nfgenmsgLen:], TableName)) == table
}
