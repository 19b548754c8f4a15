// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"time"
)

// A Peer holds what the hello of a peer announces.
type Peer struct {
	// Deltas reports whether the peer supports the delta between two values of an item.
	Deltas bool
	// Acknowledges reports whether the peer acknowledges commits.
	Acknowledges bool
	// Resumes reports whether the peer sends the digests of the items that it holds on
	// request.
	Resumes bool
	// HeldXor is the exclusive or of the digests of all items that the peer holds.
	HeldXor uint64
	// HeldCount is the number of items that the peer holds.
	HeldCount int
}

// Received is one message of a peer after its hello: either digests or an acknowledgement.
type Received struct {
	// Held are digests of items that the peer holds.
	Held []uint64
	// HeldComplete reports whether Held ends the list of digests.
	HeldComplete bool
	// Ack is nil unless the message is an acknowledgement. It is valid until the next call
	// of Receive.
	Ack *Ack
}

// An Ack is the acknowledgement of a commit. It covers all earlier commits.
type Ack struct {
	Revision uint64
	// Error is why the peer could not apply the commit; empty means that it is applied.
	Error string
	// Duration is how long the peer took to apply the commit.
	Duration time.Duration
	// Age is the time from the end of that to the acknowledgement.
	Age time.Duration
}

// A Conn is the connection to one peer, in the messages of its protocol.
//
// Calls of Class, Welcome, Overlay, RemovedDigests and Send do not overlap with each other,
// but may come from different goroutines. Calls of Receive and Acknowledged do not overlap
// with each other, but overlap with the others. Context may be called at any time. After
// Serve has returned, and the connection is closed, all must return soon.
type Conn[K, X any] interface {
	// Context returns the context of the connection. It does not block.
	Context() context.Context
	// Class returns the class of the peer in a snapshot.
	Class(s *Snapshot[K, X]) string
	// Welcome answers the hello. sendHeld requests the digests of the items that the peer
	// holds; fullSync means that the peer must discard what it holds.
	Welcome(sendHeld, fullSync bool) error
	// Overlay returns the part of the update from old to new that only this peer receives;
	// it may be empty. b is the delta between both, and old is nil in the initial sync.
	// Overlay is called once for each update, and what it returns is sent.
	Overlay(old, new *Snapshot[K, X], b *Batch[K]) [][]byte
	// RemovedDigests encodes the removal of items that the peer holds and the hub does not.
	RemovedDigests(digests []uint64) []byte
	// Send sends a message. It may block until the peer reads, but must not block while
	// the commits that a reading peer has not acknowledged take less than 32 KiB together
	// with m.
	Send(m *Message) error
	// Receive blocks until the peer sends a message. After io.EOF the peer sends no more,
	// but may still read.
	Receive() (Received, error)
	// Acknowledged is called for each acknowledgement. sent is when the newest commit that
	// a newly covers was sent; zero when a covers none that was not acknowledged before.
	Acknowledged(a Ack, sent time.Time)
}

// A Status is a copy of the progress of a stream.
type Status struct {
	// Sent is the newest revision that was sent, and Applied the newest that the peer has
	// applied. A revision that changes nothing for the peer counts as both.
	Sent, Applied uint64
	// BehindSince is when the oldest commit was sent that the peer has not applied; zero
	// when it has applied all.
	BehindSince time.Time
	// LastError is the error of the last acknowledgement; empty when it has none.
	LastError string
	// Failures is the number of acknowledgements with an error.
	Failures uint64
	// ApplyDuration is how long the peer took to apply the last commit that it
	// acknowledged.
	ApplyDuration time.Duration
}
