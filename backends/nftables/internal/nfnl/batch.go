// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// maxKeptBytes is the largest buffer, in bytes, that survives Reset.
const maxKeptBytes = 1 << 20

// A Batch is a transaction being written: a sequence of messages that the kernel
// applies all together or not at all. The zero value is not usable; call
// [Batch.Reset] first. A batch is for one goroutine.
type Batch struct {
	buf      []byte
	message  int // where the current message starts
	messages int
}

// Reset empties the batch and begins it anew. It keeps its memory unless that
// was a great deal.
func (b *Batch) Reset() {
	if cap(b.buf) > maxKeptBytes {
		b.buf = nil
	}
	b.buf = b.buf[:0]
	b.messages = 0
	b.header(batchBegin, flagRequest, 0, subsysNftables)
}

// Grow makes room for n more bytes.
func (b *Batch) Grow(n int) { b.buf = slices.Grow(b.buf, n) }

// Messages is the number of messages started since Reset.
func (b *Batch) Messages() int { return b.messages }

// Len is the number of bytes written.
func (b *Batch) Len() int { return len(b.buf) }

// Start begins a message of nf_tables, ending the one before.
func (b *Batch) Start(kind, flags uint16, family uint8) {
	b.header(subsysNftables<<8|kind, flagRequest|flags, family, 0)
	b.messages++
}

func (b *Batch) header(kind, flags uint16, family uint8, resource uint16) {
	b.closeMessage()
	b.message = len(b.buf)
	b.buf = append(b.buf, 0, 0, 0, 0)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, flags)
	b.buf = append(b.buf, 0, 0, 0, 0, 0, 0, 0, 0) // sequence number and port
	b.buf = append(b.buf, family, 0)
	b.buf = binary.BigEndian.AppendUint16(b.buf, resource)
}

func (b *Batch) closeMessage() {
	if len(b.buf) > 0 {
		binary.NativeEndian.PutUint32(b.buf[b.message:], uint32(len(b.buf)-b.message))
	}
}

// finish ends the batch and numbers its messages from seq. The kernel is asked
// to acknowledge the last message; without commit it checks the batch and then
// forgets it. It returns the bytes and the number after the last.
func (b *Batch) finish(seq uint32, commit bool) ([]byte, uint32) {
	last := b.message
	flags := binary.NativeEndian.Uint16(b.buf[last+6:])
	binary.NativeEndian.PutUint16(b.buf[last+6:], flags|flagAck)
	if commit {
		b.header(batchEnd, flagRequest, 0, subsysNftables)
	}
	return b.number(seq)
}

// number ends the last message and numbers all from seq.
func (b *Batch) number(seq uint32) ([]byte, uint32) {
	b.closeMessage()
	for at := 0; at < len(b.buf); {
		binary.NativeEndian.PutUint32(b.buf[at+8:], seq)
		seq++
		at += int(binary.NativeEndian.Uint32(b.buf[at:]))
	}
	return b.buf, seq
}

// Uint32 writes an attribute that holds a number in network byte order.
func (b *Batch) Uint32(attr uint16, v uint32) {
	b.buf = AppendAttr(b.buf, attr, 4)
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
}

// Uint64 writes an attribute that holds a number in network byte order.
func (b *Batch) Uint64(attr uint16, v uint64) {
	b.buf = AppendAttr(b.buf, attr, 8)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
}

// String writes an attribute that holds a string.
func (b *Batch) String(attr uint16, s string) { b.buf = AppendString(b.buf, attr, s) }

// Bytes writes an attribute that holds v.
func (b *Batch) Bytes(attr uint16, v []byte) {
	b.buf = AppendAttr(b.buf, attr, len(v))
	b.buf = append(b.buf, v...)
	b.buf = pad(b.buf, len(v))
}

// Nest begins an attribute that holds attributes; pass its result to [Batch.End].
// The content must stay below 65,532 bytes.
func (b *Batch) Nest(attr uint16) int {
	at := len(b.buf)
	b.buf = AppendAttr(b.buf, attr|nestedFlag, 0)
	return at
}

// End ends the attribute that Nest began.
func (b *Batch) End(nest int) {
	binary.NativeEndian.PutUint16(b.buf[nest:], uint16(len(b.buf)-nest))
}

// Raw writes attributes that are encoded already.
func (b *Batch) Raw(attrs []byte) { b.buf = append(b.buf, attrs...) }

// AppendAttr appends the header of an attribute with size bytes of content. The
// caller appends those, and what makes their number a multiple of four.
func AppendAttr(buf []byte, attr uint16, size int) []byte {
	buf = binary.NativeEndian.AppendUint16(buf, uint16(attrHeaderLen+size))
	return binary.NativeEndian.AppendUint16(buf, attr)
}

// AppendNest appends the header of an attribute that holds attributes of size
// bytes in all, their own headers and padding included.
func AppendNest(buf []byte, attr uint16, size int) []byte {
	return AppendAttr(buf, attr|nestedFlag, size)
}

// AppendString appends an attribute that holds a string.
func AppendString(buf []byte, attr uint16, s string) []byte {
	buf = AppendAttr(buf, attr, len(s)+1)
	buf = append(append(buf, s...), 0)
	return pad(buf, len(s)+1)
}

// StringSize is the number of bytes that AppendString takes.
func StringSize(s string) int { return attrHeaderLen + (len(s)+1+3)&^3 }

func pad(buf []byte, size int) []byte {
	for ; size%4 != 0; size++ {
		buf = append(buf, 0)
	}
	return buf
}

// Content returns the messages as they are now; it is valid until the next change.
func (b *Batch) Content() []byte {
	b.closeMessage()
	return b.buf
}

// Contains tells whether the bytes occur anywhere in the batch.
func (b *Batch) Contains(v []byte) bool { return bytes.Contains(b.buf, v) }
