// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"sync"
	"time"
)

// A stream is one call of Serve.
//
// The fields that each update needs come first, close together: a hub has thousands of
// streams, and none is in the caches of the processor.
type stream[K, X any] struct {
	// Immutable.
	hub  *Hub[K, X]
	conn Conn[K, X]

	// Owned by the sender: the goroutine of the stream or a worker, see the table of states.
	// Without a sender, in stateIdle and stateQueued, the hub owns them, and reads them with
	// its mutex held.
	sent  *Snapshot[K, X] // the last snapshot that was sent; nil before the initial sync
	class string          // of the peer in sent

	// Guarded by the mutex of the hub.
	idleIndex int // index in Hub.idle; valid in stateIdle
	state     streamState

	// Immutable.
	peer Peer

	// mu guards the fields below.
	mu           sync.Mutex
	window       []commit  // sent and not acknowledged; the oldest is first
	sendingSince time.Time // when the message was passed to Send that it sends now; or zero
	windowBytes  int       // sum of the sizes in window
	pendingBytes int       // sent since the last commit
	ended        bool      // nothing more is sent; cause is set, and done is closed
	noIdleUntil  time.Time // the stream may not be idle before: it has blocked a worker
	status       Status    // without BehindSince
	cause        error     // first reason for the end
	heldSince    time.Time // when the digests were requested that are awaited now; or zero
	failedSince  time.Time // when the oldest commit was sent that failed and is not applied since; or zero

	held  chan Received // digests, from the receiver to the handshake
	acked chan struct{} // holds an element after an acknowledgement
	done  chan struct{} // closed by end
}

// A commit is an element of the window.
type commit struct {
	revision uint64
	sent     time.Time
	size     int // in bytes, with all messages since the commit before
}

// Serve sends the items of the hub to a peer until ctx is done, the peer leaves or exceeds a
// limit, or the hub ends. It returns why. report, if not nil, is called once at the
// beginning with a function that returns the status of the stream, also after the end. When
// Serve returns, the caller must close the connection.
func (h *Hub[K, X]) Serve(ctx context.Context, peer Peer, conn Conn[K, X], report func(status func() Status)) error {
	s := &stream[K, X]{
		hub: h, peer: peer, conn: conn,
		held: make(chan Received), acked: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if report != nil {
		report(s.Status) // before anything is sent, so that a peer that has received is reported
	}
	if !h.add(s) {
		return context.Canceled
	}
	defer h.remove(s)
	defer context.AfterFunc(ctx, func() { s.end(ctx.Err()) })()
	<-s.done
	return s.cause // constant after the end
}

// add adds a stream to the hub and starts its goroutines. It returns false when the hub has
// ended.
func (h *Hub[K, X]) add(s *stream[K, X]) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.streams[s] = struct{}{}
	h.goroutines.Go(s.receive)
	h.goroutines.Go(func() {
		if err := s.handshake(); err != nil {
			s.end(err)
			return
		}
		s.send(update[K, X]{})
	})
	return true
}

// end ends the stream, if it has not ended. The first cause counts.
func (s *stream[K, X]) end(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.cause = true, cause
		close(s.done)
	}
}

// checkTimeouts ends the stream if its peer exceeds a timeout.
func (s *stream[K, X]) checkTimeouts(now time.Time) {
	expired := func(since time.Time, limit time.Duration) bool { return !since.IsZero() && now.Sub(since) > limit }
	var cause error
	limits := &s.hub.limits
	s.locked(func() {
		switch {
		case expired(s.sendingSince, limits.SendTimeout):
			cause = ErrSendTimeout
		case expired(s.heldSince, limits.HelloTimeout):
			cause = ErrDigestsTimeout
		case s.peer.Acknowledges && len(s.window) > 0 && expired(s.window[0].sent, limits.AckTimeout):
			cause = ErrAckTimeout
		}
	})
	if cause != nil {
		s.end(cause)
	}
}

// Status returns the progress of the stream.
func (s *stream[K, X]) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.BehindSince = s.failedSince
	if len(s.window) > 0 && (st.BehindSince.IsZero() || s.window[0].sent.Before(st.BehindSince)) {
		st.BehindSince = s.window[0].sent
	}
	return st
}

func (s *stream[K, X]) locked(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}
