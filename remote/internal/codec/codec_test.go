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

// TestAFrameIsItsPieces: in order, whatever their sizes, and it does not change them.
func TestAFrameIsItsPieces(t *testing.T) {
	r, c := rand.New(rand.NewPCG(1, 1)), codec{encoding.GetCodecV2("proto")}
	for range 500 {
		var pieces [][]byte
		want := []byte{}
		for range r.IntN(6) {
			p := make([]byte, []int{0, 1, smallPiece - 1, smallPiece, 5000}[r.IntN(5)])
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

// TestLargePiecesAreShared: thousands of streams send one encoding.
func TestLargePiecesAreShared(t *testing.T) {
	piece := make([]byte, 100000)
	f := NewFrame([][]byte{{1}, piece, {2}})
	out, err := codec{}.Marshal(f)
	require.NoError(t, err)
	require.Len(t, out, 3)
	require.Same(t, &piece[0], &out[1].ReadOnlyData()[0])
}

// TestOtherMessagesAreEncodedAsEver: services beside this one do not notice.
func TestOtherMessagesAreEncodedAsEver(t *testing.T) {
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

// keeper is a Decoder.
type keeper struct {
	b   []byte
	err error
}

func (k *keeper) DecodeFrame(b []byte) error { k.b = bytes.Clone(b); return k.err }

// TestDecodersGetAllBytes: of however many buffers, and what they return is returned.
func TestDecodersGetAllBytes(t *testing.T) {
	c := codec{encoding.GetCodecV2("proto")}
	for want, data := range map[string]mem.BufferSlice{
		"":       nil,
		"abc":    {mem.SliceBuffer("abc")},
		"abcdef": {mem.SliceBuffer("abc"), mem.SliceBuffer(""), mem.SliceBuffer("def")},
	} {
		k := &keeper{}
		require.NoError(t, c.Unmarshal(data, k))
		require.Equal(t, want, string(k.b))
	}
	require.ErrorIs(t, c.Unmarshal(nil, &keeper{err: io.ErrUnexpectedEOF}), io.ErrUnexpectedEOF)
}
