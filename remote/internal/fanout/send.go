// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import "time"

// An update is everything that brings one stream from a snapshot to a newer one.
type update[K, X any] struct {
	snapshot *Snapshot[K, X]
	class    string // of the peer in snapshot
	batch    *Batch[K]
	overlay  [][]byte // of this peer; sent with the commit
}

// commitSize returns the size of the last message in bytes.
func (u *update[K, X]) commitSize() int {
	size := u.batch.last.Size
	for _, p := range u.overlay {
		size += len(p)
	}
	return size
}

// send is the goroutine of a stream after the initial sync. It sends u, if u has a batch,
// and further updates until the stream is idle or has ended.
func (s *stream[K, X]) send(u update[K, X]) {
	for {
		if u.batch != nil {
			if err := s.sendUpdate(u); err != nil {
				s.end(err)
				return
			}
		}
		if !s.awaitUpdate() {
			return
		}
		u = s.nextUpdate()
	}
}

// awaitUpdate waits until there is a newer snapshot and the window has room. It returns false
// when the stream is idle or has ended.
func (s *stream[K, X]) awaitUpdate() bool {
	for {
		var newer chan struct{} // nil blocks for ever
		switch s.hub.settle(s) {
		case stateSending:
			return true
		case stateWaiting:
			newer = s.sent.newer
		case stateBlocked:
		default: // idle or closed
			return false
		}
		select {
		case <-newer:
		case <-s.acked:
		case <-s.done:
			return false
		}
	}
}

// nextUpdate returns the update to the newest snapshot.
func (s *stream[K, X]) nextUpdate() update[K, X] {
	u := update[K, X]{snapshot: s.hub.Snapshot()}
	u.class = s.conn.Class(u.snapshot)
	u.batch = s.hub.batch(s.sent, u.snapshot, s.class, u.class, s.peer.Deltas)
	u.overlay = s.conn.Overlay(s.sent, u.snapshot, u.batch)
	return u
}

// sendUpdate sends u, unless it changes nothing for the peer.
func (s *stream[K, X]) sendUpdate(u update[K, X]) error {
	s.sent, s.class = u.snapshot, u.class
	if u.batch.empty && len(u.overlay) == 0 {
		s.skipCommit(u.snapshot.Revision)
		return nil
	}
	return s.sendCommit(u.batch, u.overlay, u.snapshot.Revision)
}

// sendCommit sends all messages of a batch. The overlay goes at the beginning of the last
// one, and the commit is its end.
func (s *stream[K, X]) sendCommit(b *Batch[K], overlay [][]byte, revision uint64) error {
	for _, m := range b.full {
		if err := s.sendMessage(m); err != nil {
			return err
		}
	}
	last := b.last
	if len(overlay) > 0 {
		last = newMessage(append(overlay, last.Pieces...)...)
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil
	}
	now := time.Now()
	s.status.Sent = revision
	s.pendingBytes += last.Size
	if s.peer.Acknowledges {
		s.window = append(s.window, commit{revision, now, s.pendingBytes})
		s.windowBytes += s.pendingBytes
	} else {
		s.status.Applied = revision
	}
	s.pendingBytes, s.sendingSince = 0, now
	s.mu.Unlock()
	defer s.clearSending()
	return s.conn.Send(last)
}

// skipCommit records a revision that changes nothing for the peer and is not sent.
func (s *stream[K, X]) skipCommit(revision uint64) {
	s.locked(func() {
		s.status.Sent = revision
		if len(s.window) == 0 && s.status.LastError == "" {
			s.status.Applied = revision
		}
	})
}

// sendMessage sends a message without a commit.
func (s *stream[K, X]) sendMessage(m *Message) error {
	s.locked(func() { s.pendingBytes += m.Size })
	return s.sendTimed(func() error { return s.conn.Send(m) })
}

// sendTimed calls fn, which must return within Limits.SendTimeout. It does nothing when the
// stream has ended.
func (s *stream[K, X]) sendTimed(fn func() error) error {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return nil
	}
	s.sendingSince = time.Now()
	s.mu.Unlock()
	defer s.clearSending()
	return fn()
}

func (s *stream[K, X]) clearSending() { s.locked(func() { s.sendingSince = time.Time{} }) }
