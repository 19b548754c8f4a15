// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import "sync"

// messageSize is the size in bytes from which the next piece begins a new message. A message
// is larger only if one piece is.
const messageSize = 64 << 10

// A Message is what one call of Send sends. Many streams share a message: it is immutable.
type Message struct {
	// Pieces are its parts, to be concatenated. They must not be modified.
	Pieces [][]byte
	// Size is the sum of the lengths of Pieces, in bytes.
	Size int

	frameOnce sync.Once
	frame     any
}

func newMessage(pieces ...[]byte) *Message {
	m := &Message{Pieces: pieces}
	for _, p := range pieces {
		m.Size += len(p)
	}
	return m
}

// Frame returns the result of build, which is called once for all streams that share m.
func (m *Message) Frame(build func(pieces [][]byte) any) any {
	m.frameOnce.Do(func() { m.frame = build(m.Pieces) })
	return m.frame
}

// A splitter collects pieces into messages of about messageSize.
type splitter struct {
	full [][]byte
	last []byte
}

func (c *splitter) add(piece []byte) {
	if len(c.last) > 0 && len(c.last)+len(piece) > messageSize {
		c.full, c.last = append(c.full, c.last), make([]byte, 0, max(messageSize, len(piece))) // more pieces will follow
	}
	c.last = append(c.last, piece...)
}
