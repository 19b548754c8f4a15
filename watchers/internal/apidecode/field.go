// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package apidecode

// A bytestring is a protobuf message, or a part of one.
type bytestring interface{ []byte | string }

// A wireType is how a field is encoded.
type wireType uint8

const (
	wireVarint  wireType = 0
	wireFixed64 wireType = 1
	wireBytes   wireType = 2
	wireFixed32 wireType = 5
)

// A field is one field of a message.
type field[T bytestring] struct {
	number int32
	wire   wireType
	varint uint64 // the value of a varint
	bytes  T      // the content of a string, of bytes or of a message
}

// nextField returns the first field of a message and its length in bytes, which is 0 if the
// message is invalid or has a group, which Kubernetes does not use.
func nextField[T bytestring](message T) (f field[T], length int) {
	tag, at := varint(message)
	if at == 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, 0
	}
	f.number, f.wire = int32(tag>>3), wireType(tag&7)
	switch f.wire {
	case wireVarint:
		value, n := varint(message[at:])
		if n == 0 {
			return f, 0
		}
		f.varint = value
		return f, at + n
	case wireBytes:
		size, n := varint(message[at:])
		at += n
		if n == 0 || size > uint64(len(message)-at) {
			return f, 0
		}
		end := at + int(size)
		f.bytes = message[at:end]
		return f, end
	case wireFixed64:
		at += 8
	case wireFixed32:
		at += 4
	default:
		return f, 0
	}
	if at > len(message) {
		return f, 0
	}
	return f, at
}

// varint returns the number at the begin of a message and its length, which is 0 if it is
// invalid.
func varint[T bytestring](message T) (value uint64, length int) {
	for i := 0; i < len(message) && i < 10; i++ {
		b := message[i]
		value |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			return value, i + 1
		}
	}
	return 0, 0
}
