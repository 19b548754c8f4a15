// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nfnl

import (
	"encoding/binary"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// messages splits a batch into messages.
func messages(t *testing.T, data []byte) (headers []header, bodies [][]byte) {
	require.NoError(t, eachMessage(data, func(h header, body []byte) {
		headers, bodies = append(headers, h), append(bodies, body)
	}))
	return headers, bodies
}

func TestBatchEncoding(t *testing.T) {
	var b Batch
	for range 2 { // Reset allows reuse
		b.Reset()
		b.Start(MsgNewTable, FlagCreate, FamilyIPv4)
		b.String(TableName, "abc")
		b.Start(MsgNewChain, 0, FamilyIPv6)
		nest := b.Nest(4)
		b.Uint32(1, 0x01020304)
		b.Bytes(2, []byte{9})
		b.End(nest)
		require.Equal(t, 2, b.Messages())
		data, end := b.finish(100, true)
		require.EqualValues(t, 104, end)
		headers, bodies := messages(t, data)
		require.Equal(t, []header{
			{batchBegin, flagRequest, 100},
			{subsysNftables<<8 | MsgNewTable, flagRequest | FlagCreate, 101},
			{subsysNftables<<8 | MsgNewChain, flagRequest | flagAck, 102},
			{batchEnd, flagRequest, 103},
		}, headers)
		require.Equal(t, []byte{0, 0, 0, subsysNftables}, bodies[0][:nfgenmsgLen])
		require.Equal(t, "abc\x00", string(findAttr(bodies[1][nfgenmsgLen:], TableName)))
		require.EqualValues(t, FamilyIPv6, bodies[2][0])
		inner := findAttr(bodies[2][nfgenmsgLen:], 4)
		require.Equal(t, []byte{1, 2, 3, 4}, findAttr(inner, 1))
		require.Equal(t, []byte{9}, findAttr(inner, 2))
		require.Nil(t, findAttr(inner, 3))
		require.Zero(t, len(data)%4)
	}
	b.Reset()
	b.Start(MsgNewTable, 0, FamilyIPv4)
	data, _ := b.finish(1, false)
	headers, _ := messages(t, data)
	require.Len(t, headers, 2, "without an end message the kernel changes nothing")
	require.Len(t, AppendString(nil, 1, "abcd"), StringSize("abcd"))
	require.Len(t, AppendString(nil, 1, "abc"), StringSize("abc"))
}

// reply returns an error message of the kernel.
func reply(seq uint32, errno syscall.Errno, flags uint16, original []byte, attrs []byte) []byte {
	body := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	body = append(append(body, original...), attrs...)
	msg := binary.NativeEndian.AppendUint32(nil, uint32(nlmsgHeaderLen+len(body)))
	msg = binary.NativeEndian.AppendUint16(msg, nlmsgError)
	msg = binary.NativeEndian.AppendUint16(msg, flags)
	msg = binary.NativeEndian.AppendUint32(msg, seq)
	return append(append(msg, 0, 0, 0, 0), body...)
}

func TestBatchResult(t *testing.T) {
	text := AppendString(nil, errAttrMessage, "the reason")
	capped := make([]byte, nlmsgHeaderLen)
	binary.NativeEndian.PutUint32(capped, 4000)
	whole := make([]byte, nlmsgHeaderLen+8)
	binary.NativeEndian.PutUint32(whole, uint32(len(whole)))
	ack := reply(12, 0, 0, capped, nil)
	for name, c := range map[string]struct {
		datagrams [][]byte
		want      string
	}{
		"acknowledged":        {[][]byte{ack}, ""},
		"nothing":             {nil, "nf_tables did not acknowledge the transaction"},
		"of another batch":    {[][]byte{reply(9, 0, 0, capped, nil), reply(14, syscall.EPERM, 0, capped, nil)}, "nf_tables did not acknowledge the transaction"},
		"refused, then acked": {[][]byte{reply(11, syscall.ENOENT, 0, capped, nil), ack}, "nf_tables refused message 1: no such file or directory"},
		"refused after ack":   {[][]byte{ack, reply(10, syscall.ENOMEM, 0, capped, nil)}, "nf_tables refused message 0: cannot allocate memory"},
		"two in a datagram":   {[][]byte{append(reply(11, syscall.EEXIST, 0, capped, nil), ack...)}, "nf_tables refused message 1: file exists"},
		"with text":           {[][]byte{reply(11, syscall.EINVAL, flagCapped|flagAckTLVs, capped, text)}, "nf_tables refused message 1: invalid argument: the reason"},
		"with text, uncapped": {[][]byte{reply(11, syscall.EINVAL, flagAckTLVs, whole, text)}, "nf_tables refused message 1: invalid argument: the reason"},
		"cut off":             {[][]byte{reply(11, syscall.EINVAL, flagAckTLVs, capped, nil)}, "nf_tables refused message 1: invalid argument"},
	} {
		t.Run(name, func(t *testing.T) {
			o := batchResult{first: 10, end: 14}
			for _, d := range c.datagrams {
				require.NoError(t, o.add(d))
			}
			if err := o.result(); c.want == "" {
				require.NoError(t, err)
			} else {
				require.EqualError(t, err, c.want)
			}
		})
	}
}

// Malformed replies must not cause a panic.
func FuzzReplies(f *testing.F) {
	f.Add(reply(11, syscall.EINVAL, flagAckTLVs, make([]byte, 16), AppendString(nil, 1, "x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		o := batchResult{first: 10, end: 14}
		_ = o.add(data)
		_ = o.result()
	})
}

func TestGenerationsSkipZero(t *testing.T) {
	for _, c := range []struct {
		from uint32
		n    uint64
		want uint32
	}{{1, 0, 1}, {1, 1, 2}, {1<<32 - 1, 0, 1<<32 - 1}, {1<<32 - 1, 1, 1}, {1<<32 - 2, 3, 2}, {7, 1<<32 - 1, 7}} {
		require.Equal(t, c.want, AddGenerations(c.from, c.n))
	}
}

func TestDigestIgnoresAttributesThatPacketsChange(t *testing.T) {
	encode := func(key, data, code uint32, chain string, expires bool) []byte {
		var b Batch
		if expires {
			b.Uint64(ElemExpiration, 1)
		}
		nest := b.Nest(ElemKey)
		b.Uint32(DataValue, key)
		b.End(nest)
		nest = b.Nest(ElemData)
		if chain == "" {
			b.Uint32(DataValue, data)
		} else {
			verdict := b.Nest(DataVerdict)
			b.Uint32(VerdictCode, code)
			b.String(VerdictChain, chain)
			b.End(verdict)
		}
		b.End(nest)
		return b.buf
	}
	seen := map[uint64]bool{}
	for key := range uint32(10) {
		for data := range uint32(10) {
			for _, chain := range []string{"", "a", "b"} {
				d := Digest(encode(key, data, data, chain, false))
				require.False(t, seen[d])
				seen[d] = true
				require.Equal(t, d, Digest(encode(key, data, data, chain, true)))
			}
		}
	}
}
