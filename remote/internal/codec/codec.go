// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package wire hands bytes that were encoded once to any number of gRPC streams; it
// knows no message of its own.
//
// Everything that grpc-go marks as experimental and this module uses is in this file.
package codec

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that is wrapped here
	"google.golang.org/grpc/mem"
)

// A Frame is a message that is encoded already. Any number of streams may send one at the
// same time.
type Frame struct{ buffers mem.BufferSlice }

// smallPiece is what is cheaper to copy than to pass on by itself.
const smallPiece = 1024

// NewFrame returns the message that is made of pieces: protobuf concatenates. Nobody may
// write to them any more, and none that is large is copied.
func NewFrame(pieces [][]byte) *Frame {
	f := &Frame{}
	var small []byte
	flush := func() {
		if len(small) > 0 {
			f.add(small)
			small = nil
		}
	}
	for _, p := range pieces {
		if len(p) < smallPiece && len(pieces) > 1 {
			small = append(small, p...)
			continue
		}
		flush()
		f.add(p)
	}
	flush()
	return f
}

// add adds a piece. SliceBuffers belong to no pool, so they may be shared.
func (f *Frame) add(piece []byte) { f.buffers = append(f.buffers, mem.SliceBuffer(piece)) }

// A Decoder is a message that decodes itself. DecodeFrame does not keep b.
type Decoder interface{ DecodeFrame(b []byte) error }

// codec is the protobuf codec that passes Frames through, and bytes to Decoders.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*Frame); ok {
		return f.buffers, nil
	}
	return c.CodecV2.Marshal(v)
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	d, ok := v.(Decoder)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return d.DecodeFrame(b.ReadOnlyData())
}

// ServerOption lets a server send Frames and hear Decoders, which is what interceptors of
// their streams see instead of messages. All other messages are encoded as ever; the codec
// is this server's alone, and keeps the name "proto".
func ServerOption() grpc.ServerOption {
	return grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})
}
