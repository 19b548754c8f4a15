// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"errors"
	"io"
	"slices"
	"time"
)

// maxIdleBytes is how many bytes the window of an idle stream may hold: so many can be sent
// without waiting for a peer that reads what it acknowledges.
const maxIdleBytes = 32 << 10

// permissions are what the window and the end of a stream allow.
type permissions struct {
	ended bool // nothing is sent any more
	send  bool // the window has room for a commit
	idle  bool // the stream may be idle, and a worker may send to it
}

// permissions returns what a stream may do after it has been sent so many more bytes.
func (s *stream[K, X]) permissions(bytes int) permissions {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := permissions{ended: s.ended}
	p.send = !s.peer.Acknowledges || len(s.window) < s.hub.limits.Unacknowledged
	p.idle = p.send && !s.ended && s.peer.Acknowledges && s.windowBytes+bytes <= maxIdleBytes &&
		(s.noIdleUntil.IsZero() || time.Now().After(s.noIdleUntil))
	return p
}

// receive is the goroutine that receives from the peer. It ends the stream when the peer
// leaves, unless the peer has no acknowledgements to send.
func (s *stream[K, X]) receive() {
	err := s.receiveAll()
	if errors.Is(err, io.EOF) && !s.peer.Acknowledges {
		return
	}
	s.end(err)
}

func (s *stream[K, X]) receiveAll() error {
	complete := false // all digests are received
	for {
		m, err := s.conn.Receive()
		switch {
		case err != nil:
			return err
		case m.Ack != nil:
			if err := s.acknowledge(*m.Ack); err != nil {
				return err
			}
		case complete || !s.awaitsHeld():
			return ErrUnexpectedMessage
		default:
			complete = m.HeldComplete
			select {
			case s.held <- m:
			case <-s.done:
				return nil
			}
		}
	}
}

// awaitsHeld reports whether the digests that the peer holds were requested and are not
// complete.
func (s *stream[K, X]) awaitsHeld() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.heldSince.IsZero()
}

// acknowledge removes the commits that a covers from the window.
func (s *stream[K, X]) acknowledge(a Ack) error {
	s.mu.Lock()
	if !s.peer.Acknowledges || a.Revision > s.status.Sent {
		s.mu.Unlock()
		return ErrUnexpectedMessage
	}
	var sent time.Time
	n := 0
	for n < len(s.window) && s.window[n].revision <= a.Revision {
		sent = s.window[n].sent
		s.windowBytes -= s.window[n].size
		n++
	}
	if n > 0 && a.Error != "" && s.failedSince.IsZero() {
		s.failedSince = s.window[0].sent
	}
	s.window = slices.Delete(s.window, 0, n)
	s.status.LastError, s.status.ApplyDuration = a.Error, a.Duration
	if a.Error != "" {
		s.status.Failures++
	} else {
		s.failedSince = time.Time{}
		s.status.Applied = max(s.status.Applied, a.Revision)
		if len(s.window) == 0 {
			s.status.Applied = s.status.Sent
		}
	}
	s.mu.Unlock()
	select {
	case s.acked <- struct{}{}:
	default:
	}
	s.conn.Acknowledged(a, sent)
	return nil
}
