// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"fmt"
	"slices"
	"time"
)

// This file has all transitions of streams. The table in the package comment describes them.

// A streamState is the state of a stream.
type streamState uint8

const (
	stateHandshake streamState = iota
	stateInitialSync
	stateSending
	stateWaiting
	stateBlocked
	stateIdle
	stateQueued
	stateClaimed
	stateWorkerSending
	stateClosed
)

// String returns the name of the state in the package comment.
func (s streamState) String() string {
	names := [...]string{
		"handshake", "initialSync", "sending", "waiting", "blocked", "idle", "queued", "claimed", "workerSending", "closed",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("streamState(%d)", uint8(s))
}

// allows reports whether a stream may go from state s to next.
func (s streamState) allows(next streamState) bool {
	if next == stateClosed {
		return s != stateClosed
	}
	switch s {
	case stateHandshake:
		return next == stateInitialSync
	case stateInitialSync, stateSending, stateBlocked:
		return next == stateSending || next == stateWaiting || next == stateBlocked || next == stateIdle
	case stateWaiting: // the window has room, and only sending fills it
		return next == stateSending || next == stateWaiting || next == stateIdle
	case stateIdle:
		return next == stateQueued
	case stateQueued:
		return next == stateClaimed
	case stateClaimed:
		return next == stateQueued || next == stateWorkerSending
	case stateWorkerSending:
		return next == stateIdle || next == stateQueued || next == stateSending
	case stateClosed:
	}
	return false
}

// transition changes the state of a stream, and reports whether it did: it does not when the
// stream is closed. A transition that is not allowed ends the stream. h.mu must be held.
func (h *Hub[K, X]) transition(s *stream[K, X], to streamState) bool {
	from := s.state
	if !from.allows(to) {
		if from != stateClosed {
			s.end(fmt.Errorf("%w: %v to %v", errTransition, from, to))
		}
		return false
	}
	s.state = to
	if h.onTransition != nil {
		h.onTransition(s, from, to)
	}
	return true
}

// startInitialSync moves a stream from handshake to initialSync. It returns false when the
// stream is closed.
func (h *Hub[K, X]) startInitialSync(s *stream[K, X]) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.transition(s, stateInitialSync)
}

// settle moves a stream from initialSync, sending, waiting or blocked to idle, sending,
// waiting or blocked. The goroutine of the stream calls it when an update is sent, and when a
// wait is over. It returns the new state, or closed when the stream has ended.
func (h *Hub[K, X]) settle(s *stream[K, X]) streamState {
	may := s.permissions(0)
	if may.ended {
		return stateClosed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	newest := s.sent == h.snapshot.Load()
	to := stateWaiting
	switch {
	case newest && may.idle && !h.closed:
		to = stateIdle
	case !may.send:
		to = stateBlocked
	case !newest:
		to = stateSending
	}
	if !h.transition(s, to) {
		return stateClosed
	}
	if to == stateIdle {
		h.addIdle(s)
	}
	return to
}

// queueIdle moves all idle streams to queued, in the order of the idle list. h.mu must be
// held.
func (h *Hub[K, X]) queueIdle() {
	for _, s := range h.idle {
		h.transition(s, stateQueued)
	}
	h.queue = append(h.queue, h.idle...)
	clear(h.idle)
	h.idle = h.idle[:0]
}

// claim moves the first streams of the queue to claimed, by worker w. h.mu must be held.
//
// It accesses each stream before one is sent to: none of thousands is in the caches of the
// processor, which so waits for the memory of several at the same time.
func (h *Hub[K, X]) claim(w *worker[K, X]) {
	n := min(claimSize, len(h.queue))
	w.claimed, h.queue = h.queue[:n:n], h.queue[n:]
	for _, s := range w.claimed {
		h.transition(s, stateClaimed)
		s.conn.Context()
	}
}

// unclaim moves the streams that worker w has claimed and not reached back to queued. They
// become the first in the queue: they have waited the longest. h.mu must be held.
func (h *Hub[K, X]) unclaim(w *worker[K, X]) {
	for _, s := range w.claimed {
		h.transition(s, stateQueued)
	}
	h.queue, w.claimed = slices.Concat(w.claimed, h.queue), nil
}

// startNext moves the first stream that w has claimed and that is not closed to
// workerSending. It returns nil when there is none. h.mu must be held.
func (h *Hub[K, X]) startNext(w *worker[K, X]) *stream[K, X] {
	for len(w.claimed) > 0 {
		s := w.claimed[0]
		w.claimed[0], w.claimed = nil, w.claimed[1:]
		if h.transition(s, stateWorkerSending) {
			return s
		}
	}
	return nil
}

// release moves a stream from workerSending to idle, queued or sending, after worker w has
// sent to it or has found that it must not. h.mu must be held.
func (h *Hub[K, X]) release(w *worker[K, X], s *stream[K, X], out sendResult[K, X]) {
	switch {
	case out.failed: // the stream has ended
	case out.needsGoroutine:
		h.startSender(s, out.unsent)
	case w.replaced:
		s.locked(func() { s.noIdleUntil = time.Now().Add(h.limits.SendTimeout) })
		h.startSender(s, update[K, X]{})
	case s.sent != h.snapshot.Load():
		if h.transition(s, stateQueued) {
			h.queue = append(h.queue, s)
		}
	default:
		if h.transition(s, stateIdle) {
			h.addIdle(s)
		}
	}
}

// startSender moves a stream from workerSending to sending: it starts the goroutine of the
// stream, which sends u first if u has a batch. h.mu must be held.
func (h *Hub[K, X]) startSender(s *stream[K, X], u update[K, X]) {
	if h.transition(s, stateSending) {
		h.goroutines.Go(func() { s.send(u) })
	}
}

// remove moves a stream to closed. It may be called again.
func (h *Hub[K, X]) remove(s *stream[K, X]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.state == stateIdle {
		h.removeIdle(s)
	}
	h.transition(s, stateClosed)
	delete(h.streams, s)
}

// addIdle adds s to the idle list. h.mu must be held.
func (h *Hub[K, X]) addIdle(s *stream[K, X]) {
	s.idleIndex = len(h.idle)
	h.idle = append(h.idle, s)
}

// removeIdle removes s from the idle list. h.mu must be held.
func (h *Hub[K, X]) removeIdle(s *stream[K, X]) {
	last := len(h.idle) - 1
	moved := h.idle[last]
	h.idle[s.idleIndex], moved.idleIndex = moved, s.idleIndex
	h.idle[last] = nil
	h.idle = h.idle[:last]
}
