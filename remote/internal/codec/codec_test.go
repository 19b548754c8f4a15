// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package codec

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// Pieces have all sizes around minSharedSize, and a frame can be sent more than once.
func TestFrameConcatenatesPieces(t *testing.T) {
	t.Parallel()
	r, c := rand.New(rand.NewPCG(1, 1)), codec{encoding.GetCodecV2("proto")}
	for range 500 {
		var pieces [][]byte
		want := []byte{}
		for range r.IntN(6) {
			p := make([]byte, []int{0, 1, minSharedSize - 1, minSharedSize, 5000}[r.IntN(5)])
			for i := range p {
				p[i] = byte(r.IntN(256))
			}
			pieces, want = append(pieces, p), append(want, p...)
		}
		f := NewFrame(pieces)
		for range 2 {
			out, err := c.Marshal(f)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, out.Materialize()))
			out.Free()
		}
	}
}

func TestLargePiecesAreShared(t *testing.T) {
	t.Parallel()
	piece := make([]byte, 100000)
	f := NewFrame([][]byte{{1}, piece, {2}})
	out, err := codec{}.Marshal(f)
	require.NoError(t, err)
	require.Len(t, out, 3)
	require.Same(t, &piece[0], &out[1].ReadOnlyData()[0])
}

// Other services of the same server are not affected.
func TestOtherMessagesUseProtobufCodec(t *testing.T) {
	t.Parallel()
	c := codec{encoding.GetCodecV2("proto")}
	m := &fieldmaskpb.FieldMask{Paths: []string{"a"}}
	out, err := c.Marshal(m)
	require.NoError(t, err)
	var back fieldmaskpb.FieldMask
	require.NoError(t, c.Unmarshal(out, &back))
	require.True(t, proto.Equal(m, &back))
	require.Equal(t, "proto", c.Name())
	_, err = c.Marshal("no message")
	require.Error(t, err)
}

// fakeDecoder is a Decoder that copies the bytes and returns err.
type fakeDecoder struct {
	b   []byte
	err error
}

func (d *fakeDecoder) DecodeFrame(b []byte) error { d.b = bytes.Clone(b); return d.err }

// A message may arrive in several buffers; the error of the Decoder is returned.
func TestDecoderReceivesAllBytes(t *testing.T) {
	t.Parallel()
	c := codec{encoding.GetCodecV2("proto")}
	for want, data := range map[string]mem.BufferSlice{
		"":       nil,
		"abc":    {mem.SliceBuffer("abc")},
		"abcdef": {mem.SliceBuffer("abc"), mem.SliceBuffer(""), mem.SliceBuffer("def")},
	} {
		d := &fakeDecoder{}
		require.NoError(t, c.Unmarshal(data, d))
		require.Equal(t, want, string(d.b))
	}
	require.ErrorIs(t, c.Unmarshal(nil, &fakeDecoder{err: io.ErrUnexpectedEOF}), io.ErrUnexpectedEOF)
}
