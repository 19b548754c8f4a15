// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package codec lets one encoded message be sent on any number of gRPC streams. It is
// independent of message types.
//
// All uses of experimental APIs of grpc-go in this module are in codec.go.
package codec

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that is wrapped here
	"google.golang.org/grpc/mem"
)

// A Frame is an encoded message. It is immutable, and any number of streams may send it at
// the same time.
type Frame struct{ buffers mem.BufferSlice }

// minSharedSize is the size in bytes below which copying a piece costs less than sharing it.
const minSharedSize = 1024

// NewFrame returns the message that is the concatenation of pieces, which in protobuf is the
// merge of the encoded messages. It keeps the pieces: they must not be modified any more.
// Large pieces are shared, not copied.
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
		if len(p) < minSharedSize && len(pieces) > 1 {
			small = append(small, p...)
			continue
		}
		flush()
		f.add(p)
	}
	flush()
	return f
}

// add adds a piece. A SliceBuffer is not pooled, so streams can share it.
func (f *Frame) add(piece []byte) { f.buffers = append(f.buffers, mem.SliceBuffer(piece)) }

// A Decoder is a message that decodes itself. DecodeFrame must not keep b.
type Decoder interface{ DecodeFrame(b []byte) error }

// codec is the protobuf codec, except for Frames, which it sends as they are, and Decoders,
// to which it passes the received bytes.
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

// ServerOption returns the option with which streams of a server can send a *Frame and
// receive a Decoder. Stream interceptors get these types in SendMsg and RecvMsg. All other
// messages are encoded as without the option. It applies to one server only, and the name of
// the codec stays "proto".
func ServerOption() grpc.ServerOption {
	return grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})
}
