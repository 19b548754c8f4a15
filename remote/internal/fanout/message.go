// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import "sync"

// A Message is what is sent at once. Thousands of streams share one: nobody may write to
// it.
type Message struct {
	// Pieces are its parts, one after the other.
	Pieces [][]byte
	// Size is how many bytes they are.
	Size int

	once sync.Once
	form any
}

func newMessage(pieces ...[]byte) *Message {
	m := &Message{Pieces: pieces}
	for _, p := range pieces {
		m.Size += len(p)
	}
	return m
}

// Form returns what fn makes of the message. It is called once, for all streams.
func (m *Message) Form(fn func(pieces [][]byte) any) any {
	m.once.Do(func() { m.form = fn(m.Pieces) })
	return m.form
}
