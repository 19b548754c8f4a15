// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import "sync"

// An Item is something that streams are told about. It is immutable.
type Item interface {
	// Sequence tells this value from every other that the hub has had under the key.
	Sequence() uint64
	// For returns what streams of a class are told; nil when the item is none of their
	// business. The same answer is the same pointer. It may be called by any number of
	// goroutines.
	For(class string) *Encoding
}

// An Encoding is an item as it is told to streams, encoded.
type Encoding struct {
	// Digest tells the key and the content from every other, on every server.
	Digest uint64
	// Whole says that the item is now this; Gone says that it is no more. Both may be
	// followed and preceded by others of their kind.
	Whole, Gone []byte
	// Value is what was encoded, for Diff.
	Value any
	// Diff returns what leads from an older encoding of the same key to this one; nil when
	// Whole is to be sent instead. It may be nil itself.
	Diff func(old *Encoding) []byte

	mu    sync.Mutex
	diffs map[uint64][]byte // by the digest of the older one
}

// maxDiffs is how many older encodings an encoding remembers the way from. Streams that
// are slow differ in what they were told last, but not in a thousand ways.
const maxDiffs = 8

// from returns what a peer must be told that holds old.
func (e *Encoding) from(old *Encoding) []byte {
	if e.Diff == nil {
		return e.Whole
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d, known := e.diffs[old.Digest]
	if !known {
		d = e.Diff(old)
		if d == nil {
			d = e.Whole
		}
		if len(e.diffs) < maxDiffs {
			if e.diffs == nil {
				e.diffs = map[uint64][]byte{}
			}
			e.diffs[old.Digest] = d
		}
	}
	return d
}
