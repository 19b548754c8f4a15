// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// maxKeptBytes is the size of the largest buffer that Reset keeps, in bytes.
const maxKeptBytes = 1 << 20

// A Batch is the content of a transaction: a sequence of messages that the kernel applies all
// together or not at all. [Batch.Reset] must be called before the first use. A Batch is not
// safe for concurrent use.
type Batch struct {
	buf      []byte
	message  int // offset of the current message
	messages int // number of messages since Reset
}

// Reset empties the batch for its next use. It keeps memory up to maxKeptBytes.
func (b *Batch) Reset() {
	b.Trim()
	b.buf = b.buf[:0]
	b.messages = 0
	b.header(batchBegin, flagRequest, 0, subsysNftables)
}

// Trim frees the batch's memory if it is larger than what Reset keeps. The batch must be Reset
// before its next use.
func (b *Batch) Trim() {
	if cap(b.buf) > maxKeptBytes {
		b.buf = nil
	}
}

// Grow allocates room for n more bytes.
func (b *Batch) Grow(n int) { b.buf = slices.Grow(b.buf, n) }

// Messages returns the number of messages started since Reset.
func (b *Batch) Messages() int { return b.messages }

// Len returns the number of bytes written since Reset.
func (b *Batch) Len() int { return len(b.buf) }

// Start ends the current message and begins one of nf_tables.
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

// finish ends the batch and numbers its messages from seq. It requests an acknowledgement of
// the last message. Without commit, the kernel validates the batch and then discards it.
// finish returns the bytes, which are valid until the next change of the batch, and the number
// after the last. It may be called again.
func (b *Batch) finish(seq uint32, commit bool) ([]byte, uint32) {
	last := b.message
	flags := binary.NativeEndian.Uint16(b.buf[last+6:])
	binary.NativeEndian.PutUint16(b.buf[last+6:], flags|flagAck)
	end := len(b.buf)
	if commit {
		b.header(batchEnd, flagRequest, 0, subsysNftables)
	}
	data, next := b.number(seq)
	b.buf, b.message = b.buf[:end], last
	return data, next
}

// number ends the last message and numbers all messages from seq. It returns the bytes and
// the number after the last.
func (b *Batch) number(seq uint32) ([]byte, uint32) {
	b.closeMessage()
	for at := 0; at < len(b.buf); {
		binary.NativeEndian.PutUint32(b.buf[at+8:], seq)
		seq++
		at += int(binary.NativeEndian.Uint32(b.buf[at:]))
	}
	return b.buf, seq
}

// Uint32 appends an attribute that holds a number in network byte order.
func (b *Batch) Uint32(attr uint16, v uint32) {
	b.buf = AppendAttr(b.buf, attr, 4)
	b.buf = binary.BigEndian.AppendUint32(b.buf, v)
}

// Uint64 appends an attribute that holds a number in network byte order.
func (b *Batch) Uint64(attr uint16, v uint64) {
	b.buf = AppendAttr(b.buf, attr, 8)
	b.buf = binary.BigEndian.AppendUint64(b.buf, v)
}

// String appends an attribute that holds a NUL-terminated string.
func (b *Batch) String(attr uint16, s string) { b.buf = AppendString(b.buf, attr, s) }

// Bytes appends an attribute that holds v.
func (b *Batch) Bytes(attr uint16, v []byte) {
	b.buf = AppendAttr(b.buf, attr, len(v))
	b.buf = append(b.buf, v...)
	b.buf = pad(b.buf, len(v))
}

// Nest begins an attribute that holds attributes. The result must be passed to [Batch.End].
// The content must be shorter than 65,532 bytes.
func (b *Batch) Nest(attr uint16) int {
	at := len(b.buf)
	b.buf = AppendAttr(b.buf, attr|nestedFlag, 0)
	return at
}

// End ends the attribute that Nest began.
func (b *Batch) End(nest int) {
	binary.NativeEndian.PutUint16(b.buf[nest:], uint16(len(b.buf)-nest))
}

// Raw appends attributes that are encoded already.
func (b *Batch) Raw(attrs []byte) { b.buf = append(b.buf, attrs...) }

// AppendAttr appends the header of an attribute with size bytes of content. The caller must
// append the content and pad it to a multiple of four bytes.
func AppendAttr(buf []byte, attr uint16, size int) []byte {
	buf = binary.NativeEndian.AppendUint16(buf, uint16(attrHeaderLen+size))
	return binary.NativeEndian.AppendUint16(buf, attr)
}

// AppendNest appends the header of an attribute that holds attributes. Their total size is
// size bytes, with headers and padding.
func AppendNest(buf []byte, attr uint16, size int) []byte {
	return AppendAttr(buf, attr|nestedFlag, size)
}

// AppendString appends an attribute that holds a NUL-terminated string.
func AppendString(buf []byte, attr uint16, s string) []byte {
	buf = AppendAttr(buf, attr, len(s)+1)
	buf = append(append(buf, s...), 0)
	return pad(buf, len(s)+1)
}

// StringSize returns the number of bytes that AppendString appends.
func StringSize(s string) int { return attrHeaderLen + (len(s)+1+3)&^3 }

func pad(buf []byte, size int) []byte {
	for ; size%4 != 0; size++ {
		buf = append(buf, 0)
	}
	return buf
}

// Content returns the messages. The result is valid until the next change of the batch.
func (b *Batch) Content() []byte {
	b.closeMessage()
	return b.buf
}

// Contains reports whether v occurs anywhere in the batch.
func (b *Batch) Contains(v []byte) bool { return bytes.Contains(b.buf, v) }
