// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"sync"
	"time"
)

const (
	// maxForeign is how many items a peer may hold, beyond twice the number that the hub
	// has, to be asked for their digests. If a peer holds more, sending all items of the hub
	// costs less than receiving the digests.
	maxForeign = 1000
	// slotIdle is how long a stream that makes no progress keeps its slot. A thousand such
	// streams then delay others only by a few seconds.
	slotIdle = time.Second
)

// handshake brings the peer to the newest snapshot, whatever the peer holds. There is one
// commit, at the end: a peer that resumes never goes back to an older snapshot.
func (s *stream[K, X]) handshake() error {
	if s.peer.Resumes && s.peer.HeldCount > s.hub.limits.HeldItems {
		return ErrTooManyDigests
	}
	class := s.conn.Class(s.hub.Snapshot())
	resumes := s.peer.Resumes && s.peer.HeldCount > 0
	from := s.hub.initial(class, resumes)
	if s.peer.HeldCount > 2*from.count+maxForeign {
		resumes = false
	}
	current := resumes && s.peer.HeldXor == from.xor && s.peer.HeldCount == from.count
	sendHeld := resumes && !current
	if sendHeld {
		s.locked(func() { s.heldSince = time.Now() })
	}
	if err := s.sendTimed(func() error { return s.conn.Welcome(sendHeld, !resumes) }); err != nil {
		return err
	}
	overlay := s.conn.Overlay(nil, from.snapshot, &from.full)
	var held map[uint64]struct{}
	if sendHeld {
		var err error
		if held, err = s.receiveHeld(); err != nil {
			return err
		}
	}
	if !s.hub.startInitialSync(s) {
		return nil
	}
	return s.initialSync(from, class, overlay, !resumes, held)
}

// receiveHeld returns the digests that the peer holds; nil when the stream has ended.
func (s *stream[K, X]) receiveHeld() (map[uint64]struct{}, error) {
	defer s.locked(func() { s.heldSince = time.Time{} })
	held, count := map[uint64]struct{}{}, 0
	for {
		select {
		case m := <-s.held:
			if count += len(m.Held); count > s.peer.HeldCount {
				return nil, ErrTooManyDigests
			}
			for _, d := range m.Held {
				held[d] = struct{}{}
			}
			if m.HeldComplete {
				return held, nil
			}
		case <-s.done:
			return nil, nil
		}
	}
}

// initialSync sends the snapshot that the stream begins with: all items if full is set, and
// those that are not in held if held is not nil. Then it sends the update to the newest
// snapshot.
func (s *stream[K, X]) initialSync(from *initial[K, X], class string, overlay [][]byte, full bool, held map[uint64]struct{}) error {
	items, progress := &Batch[K]{}, func() {}
	switch {
	case full:
		if items = from.whole(class); len(items.full) > 0 {
			slotProgress, release := s.acquireSlot()
			defer release()
			progress = slotProgress
		}
	case held != nil:
		// These messages are not shared, and may be large.
		slotProgress, release := s.acquireSlot()
		defer release()
		progress = slotProgress
		var removed []uint64
		if items, removed = from.missing(class, held); len(removed) > 0 {
			overlay = append(overlay, s.conn.RemovedDigests(removed))
		}
	}
	for _, m := range items.full {
		if err := s.sendMessage(m); err != nil {
			return err
		}
		progress()
	}
	if len(items.tail) > 0 {
		overlay = append(overlay, items.tail)
	}
	s.sent, s.class = from.snapshot, class
	return s.sendFirstCommit(overlay)
}

// sendFirstCommit sends pieces, and the update from the snapshot that the stream began with
// to the newest one.
func (s *stream[K, X]) sendFirstCommit(pieces [][]byte) error {
	if now := s.hub.Snapshot(); now == s.sent && s.conn.Class(now) == s.class {
		return s.sendCommit(&Batch[K]{last: newMessage(s.hub.encodeCommit(nil, now))}, pieces, now.Revision)
	}
	if len(pieces) > 0 {
		if err := s.sendMessage(newMessage(pieces...)); err != nil {
			return err
		}
	}
	u := s.nextUpdate()
	s.sent, s.class = u.snapshot, u.class
	return s.sendCommit(u.batch, u.overlay, u.snapshot.Revision)
}

// acquireSlot waits for one of Limits.InitialSyncs slots. The stream has it until release is
// called, or progress has not been called for slotIdle. When the stream ends first, it returns
// without a slot.
func (s *stream[K, X]) acquireSlot() (progress, release func()) {
	select {
	case s.hub.slots <- struct{}{}:
	case <-s.done:
		return func() {}, func() {}
	}
	free := sync.OnceFunc(func() { <-s.hub.slots })
	timer := time.AfterFunc(slotIdle, free)
	return func() { timer.Reset(slotIdle) }, func() { timer.Stop(); free() }
}
