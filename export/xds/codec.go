// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that is wrapped here
	"google.golang.org/grpc/mem"
)

// A message is an encoded response. Streams can share a part of it.
type message struct{ buffers mem.BufferSlice }

// newMessage returns the concatenation of two parts, which in protobuf is their merge. It keeps them:
// they must not be modified any more.
func newMessage(shared, own []byte) *message {
	m := &message{}
	for _, part := range [][]byte{shared, own} {
		if len(part) > 0 {
			m.buffers = append(m.buffers, mem.SliceBuffer(part)) // not pooled, so streams can share it
		}
	}
	return m
}

// codec is the protobuf codec, except for messages, which it sends as they are.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if m, ok := v.(*message); ok {
		return m.buffers, nil
	}
	return c.CodecV2.Marshal(v)
}

// codecOption makes a server use the codec.
func codecOption() grpc.ServerOption {
	return grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})
}
