// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import "sync"

// An Item is a value that is sent to streams. It is immutable, and its methods may be called
// by any number of goroutines at the same time.
type Item interface {
	// Version is different for each value that the hub has held under a key.
	Version() uint64
	// EncodingFor returns the encoding for streams of a class; nil when the item is not sent
	// to them. The same encoding is the same pointer.
	EncodingFor(class string) *Encoding
}

// An Encoding is an item, encoded for streams. Its fields are not modified after an Item has
// returned it.
type Encoding struct {
	// Digest identifies key and content. It is the same on all servers.
	Digest uint64
	// Full sets the item to this value, and Removal removes it. Both can be concatenated
	// with other encodings.
	Full, Removal []byte
	// Value is the encoded value, for Delta.
	Value any
	// Delta returns the encoded change from an older encoding of the same key to this one;
	// nil means that Full must be sent. Delta itself may be nil.
	Delta func(old *Encoding) []byte

	mu     sync.Mutex
	deltas map[uint64][]byte // by Digest of the older encoding; at most maxDeltas; guarded by mu
}

// maxDeltas bounds how many deltas an encoding caches. Slow streams differ in the encoding
// that they were sent last, but most of them share one of a few.
const maxDeltas = 8

// deltaFrom returns the bytes that change old to e: a delta if there is one, or Full.
func (e *Encoding) deltaFrom(old *Encoding) []byte {
	if e.Delta == nil {
		return e.Full
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	d, cached := e.deltas[old.Digest]
	if !cached {
		d = e.Delta(old)
		if d == nil {
			d = e.Full
		}
		if len(e.deltas) < maxDeltas {
			if e.deltas == nil {
				e.deltas = map[uint64][]byte{}
			}
			e.deltas[old.Digest] = d
		}
	}
	return d
}

// encoding returns the encoding of i for a class; nil when i is nil or not sent to the class.
func encoding(i Item, class string) *Encoding {
	if i == nil {
		return nil
	}
	return i.EncodingFor(class)
}

// change returns the bytes that bring a peer from old to new, where nil means that the peer
// does not have the item. It returns nil when nothing changes for the peer.
func change(old, new *Encoding, deltas bool) []byte {
	switch {
	case old == new:
		return nil
	case new == nil:
		return old.Removal
	case old == nil:
		return new.Full
	case old.Digest == new.Digest:
		return nil
	case deltas:
		return new.deltaFrom(old)
	}
	return new.Full
}
