// Package wire hands bytes that were encoded once to any number of gRPC streams; it
// knows no message of its own.
//
// Everything that grpc-go marks as experimental and this module uses is in this file.
package wire

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that is wrapped here
	"google.golang.org/grpc/mem"
)

// A Frame is a message that is encoded already, in pieces: protobuf concatenates. The
// pieces are shared, and nobody may write to them.
type Frame struct{ Pieces [][]byte }

// Len is the size of the message.
func (f *Frame) Len() int {
	n := 0
	for _, p := range f.Pieces {
		n += len(p)
	}
	return n
}

// smallPiece is what is cheaper to copy than to pass on by itself.
const smallPiece = 1024

// buffers returns the pieces without a copy of any that is large. SliceBuffers belong
// to no pool, so many streams may send one at the same time.
func (f *Frame) buffers() mem.BufferSlice {
	if len(f.Pieces) == 1 {
		return mem.BufferSlice{mem.SliceBuffer(f.Pieces[0])}
	}
	var out mem.BufferSlice
	var small []byte
	flush := func() {
		if len(small) > 0 {
			out = append(out, mem.SliceBuffer(small))
			small = nil
		}
	}
	for _, p := range f.Pieces {
		if len(p) < smallPiece {
			small = append(small, p...)
			continue
		}
		flush()
		out = append(out, mem.SliceBuffer(p))
	}
	flush()
	return out
}

// codec is the protobuf codec that passes Frames through.
type codec struct{ encoding.CodecV2 }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*Frame); ok {
		return f.buffers(), nil
	}
	return c.CodecV2.Marshal(v)
}

// ServerOption lets a server send Frames. All other messages are encoded as ever; the
// codec is this server's alone, and keeps the name "proto".
func ServerOption() grpc.ServerOption {
	return grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")})
}
