// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"errors"
	"time"
)

// Limits bounds what one stream may cost. A zero field means the default.
type Limits struct {
	// Unacknowledged is the maximum number of commits that a peer leaves unacknowledged.
	// It bounds only peers that acknowledge. Default 64.
	Unacknowledged int
	// AckTimeout is how long a peer may take to acknowledge a commit. Default 1 min.
	AckTimeout time.Duration
	// SendTimeout is how long one message may take to send. Default 30 s.
	SendTimeout time.Duration
	// HelloTimeout is how long a peer may take to send its hello, and then the digests of
	// the items that it holds. Default 30 s.
	HelloTimeout time.Duration
	// InitialSyncs is the maximum number of streams that are sent their first snapshot at
	// the same time; further streams wait. It bounds memory. A stream that makes no
	// progress for a second gives up its slot. Default 128.
	InitialSyncs int
	// HeldItems is the maximum number of items that a peer may report to hold. Default
	// 1,000,000.
	HeldItems int
}

func (l *Limits) setDefaults() {
	l.Unacknowledged = cmp.Or(l.Unacknowledged, 64)
	l.AckTimeout = cmp.Or(l.AckTimeout, time.Minute)
	l.SendTimeout = cmp.Or(l.SendTimeout, 30*time.Second)
	l.HelloTimeout = cmp.Or(l.HelloTimeout, 30*time.Second)
	l.InitialSyncs = cmp.Or(l.InitialSyncs, 128)
	l.HeldItems = cmp.Or(l.HeldItems, 1_000_000)
}

// Errors with which Serve ends a stream because of its peer.
var (
	// ErrSendTimeout means that sending one message took longer than Limits.SendTimeout.
	ErrSendTimeout = errors.New("fanout: peer does not read sent data in time")
	// ErrAckTimeout means that a commit was not acknowledged within Limits.AckTimeout.
	ErrAckTimeout = errors.New("fanout: peer does not acknowledge a revision in time")
	// ErrDigestsTimeout means that the list of held digests was not complete within
	// Limits.HelloTimeout.
	ErrDigestsTimeout = errors.New("fanout: peer does not send the digests of its held items in time")
	// ErrTooManyDigests means that a peer reports more held items than Limits.HeldItems, or
	// sends more digests than its hello announced.
	ErrTooManyDigests = errors.New("fanout: peer reports too many held items")
	// ErrUnexpectedMessage means that a peer sent digests without request, or acknowledged
	// a revision that was not sent to it.
	ErrUnexpectedMessage = errors.New("fanout: unexpected message from peer")
)

// errTransition ends a stream on a transition that is not in the table of the package
// comment, which is a defect of this package.
var errTransition = errors.New("fanout: internal error: invalid stream state transition")
