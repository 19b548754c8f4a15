// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ErrOverrun says that the kernel had more to say than the socket could hold:
// what became of a transaction, or what others changed, is unknown.
var ErrOverrun = errors.New("netlink socket overrun")

// An Error is the kernel's refusal of a transaction, which then had no effect.
type Error struct {
	// Errno is the reason.
	Errno syscall.Errno
	// Detail is what the kernel says beyond the reason; it may be empty.
	Detail string
	// Message is which message of the batch was refused, counting from one; zero
	// means the batch as a whole.
	Message int
}

// Error describes the refusal.
func (e *Error) Error() string {
	s := fmt.Sprintf("nf_tables refused message %d: %v", e.Message, e.Errno)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Errno }

// A header is the start of a netlink message.
type header struct {
	kind, flags uint16
	seq         uint32
}

// eachMessage calls f for every message in a datagram.
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

// findAttr returns the content of the first attribute of that type.
func findAttr(data []byte, attr uint16) []byte {
	for len(data) >= attrHeaderLen {
		size := int(binary.NativeEndian.Uint16(data))
		if size < attrHeaderLen || size > len(data) {
			return nil
		}
		if binary.NativeEndian.Uint16(data[2:])&^nestedFlag == attr {
			return data[attrHeaderLen:size]
		}
		data = data[min((size+3)&^3, len(data)):]
	}
	return nil
}

// eachAttr calls f for every attribute of that type.
func eachAttr(data []byte, attr uint16, f func(content []byte)) {
	for len(data) >= attrHeaderLen {
		size := int(binary.NativeEndian.Uint16(data))
		if size < attrHeaderLen || size > len(data) {
			return
		}
		if binary.NativeEndian.Uint16(data[2:])&^nestedFlag == attr {
			f(data[attrHeaderLen:size])
		}
		data = data[min((size+3)&^3, len(data)):]
	}
}

// An Element is an element of a set or map as the kernel holds it.
type Element struct {
	Key []byte
	// Data is what the key maps to; empty in sets, and for verdicts.
	Data []byte
	// Expires is the time until it ends; zero when it does not.
	Expires time.Duration
}

// elementList collects the elements of one set.
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
			l.err = &Error{Errno: syscall.Errno(-int32(binary.NativeEndian.Uint32(body))), Detail: errorDetail(h.flags, body), Message: 1}
		case h.kind == subsysNftables<<8|MsgNewSetElem && len(body) >= nfgenmsgLen:
			eachAttr(findAttr(body[nfgenmsgLen:], ElemListElements), ListElem, func(elem []byte) {
				e := Element{
					Key:  bytes.Clone(findAttr(findAttr(elem, ElemKey), DataValue)),
					Data: bytes.Clone(findAttr(findAttr(elem, ElemData), DataValue)),
				}
				if left := findAttr(elem, ElemExpiration); len(left) == 8 {
					e.Expires = time.Duration(binary.BigEndian.Uint64(left)) * time.Millisecond
				}
				l.elements = append(l.elements, e)
			})
		}
	})
}

// batchResult collects the kernel's answers to one batch, whose messages bear the
// numbers from first up to but not including end.
type batchResult struct {
	first, end uint32
	acked      bool
	err        *Error
}

// add notes the answers in one datagram; answers to other batches are ignored.
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

// result is nil when the kernel applied the batch.
func (o *batchResult) result() error {
	if o.err != nil {
		return o.err
	}
	if !o.acked {
		return errors.New("nf_tables did not acknowledge the transaction")
	}
	return nil
}

// errorDetail finds the kernel's explanation in an error message. It follows the
// original message, of which only the header is there when the message is capped.
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

// concernsTable tells whether a notification is about the table of that name, in any
// family. In every message of nf_tables but one the first attribute is the table.
func concernsTable(h header, body []byte, table string) bool {
	if h.kind>>8 != subsysNftables || h.kind&0xff == msgNewGen || len(body) < nfgenmsgLen {
		return false
	}
	name := findAttr(body[nfgenmsgLen:], TableName)
	return string(bytes.TrimRight(name, "\x00")) == table
}
