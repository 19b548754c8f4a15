// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// MessageField returns m, encoded as a field of a message. All strings in m must be valid
// UTF-8: encoding fails for no other reason, and the result is then incomplete.
func MessageField(field protowire.Number, m proto.Message) []byte {
	options := proto.MarshalOptions{Deterministic: true}
	size := options.Size(m)
	b := make([]byte, 0, protowire.SizeTag(field)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b, _ = options.MarshalAppend(b, m)
	return b
}

// Fixed64Field returns numbers, encoded as a packed field of type fixed64 of a message.
func Fixed64Field(field protowire.Number, numbers []uint64) []byte {
	b := protowire.AppendTag(nil, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(8*len(numbers)))
	for _, n := range numbers {
		b = protowire.AppendFixed64(b, n)
	}
	return b
}
