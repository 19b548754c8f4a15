// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"runtime"
	"slices"
	"time"
)

// Most streams have been told everything, and wait. A goroutine for each of thousands
// costs memory, and waking it more than what it then does; so those that wait are at
// rest, in a list of the hub. With a new state they are due, in the order in which they
// came to rest, and a few tellers tell one after the other.

const (
	// maxUnread is how much a peer may not have acknowledged for its stream to be at rest:
	// so much can be sent without waiting for a peer that reads what it acknowledges.
	maxUnread = 32 << 10
	// maxTelling is how long a teller may need for a few streams. One whose peer turns out
	// to acknowledge what it has not read keeps its teller, and others get a new one; it is
	// not at rest for a while then.
	maxTelling = 100 * time.Millisecond
	// yieldEvery is how many streams a teller takes at once; then it lets others run. What
	// is sent is written by goroutines of the connections: they do it best while all that
	// they need is still in the processor's caches.
	yieldEvery = 8
	// fewSessions are too few for one more teller.
	fewSessions = 64
	// gone is the place of a session that has ended.
	gone = -1
)

// A teller tells those that are due. Its fields are under the hub's mutex.
type teller[K, X any] struct {
	mine     []*session[K, X] // those that it tells next
	ended    bool
	replaced bool // it took too long
}

// rest lets the hub tell the session what is new, in place of the caller. It returns false
// when that cannot be: there is news already, or the peer must first acknowledge what it
// was sent.
func (h *Hub[K, X]) rest(s *session[K, X]) bool {
	if !s.light(0) {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || s.place == gone || h.state.Load() != s.state {
		return false
	}
	h.lay(s)
	return true
}

// lay adds s to those at rest.
func (h *Hub[K, X]) lay(s *session[K, X]) {
	s.place = len(h.resting)
	h.resting = append(h.resting, s)
}

// bury takes a session that has ended from those at rest, if it is one of them, for good.
func (h *Hub[K, X]) bury(s *session[K, X]) {
	if last := len(h.resting) - 1; s.place <= last && h.resting[s.place] == s {
		h.resting[s.place] = h.resting[last]
		h.resting[s.place].place = s.place
		h.resting[last] = nil
		h.resting = h.resting[:last]
	}
	s.place = gone
}

// light says that the peer can be sent so many bytes more without waiting for it, and that
// it does acknowledge.
func (s *session[K, X]) light(bytes int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer.Acknowledges && !s.over && (s.barred.IsZero() || time.Now().After(s.barred)) &&
		len(s.open) < s.hub.limits.Unacknowledged && s.unread+bytes <= maxUnread
}

// tell makes all that are at rest due: there is a new state.
func (h *Hub[K, X]) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.due = append(h.due, h.resting...)
	clear(h.resting)
	h.resting = h.resting[:0]
	h.engage()
}

// engage starts tellers, if there are too few for those that are due.
func (h *Hub[K, X]) engage() {
	for !h.closed && len(h.due) > 0 && h.telling < min(h.tellers, 1+len(h.due)/fewSessions) {
		h.telling++
		h.senders.Go(h.tellDue)
	}
}

// tellDue is a teller.
func (h *Hub[K, X]) tellDue() {
	t := &teller[K, X]{}
	late := time.AfterFunc(maxTelling, func() { h.replace(t) })
	defer late.Stop()
	var told *session[K, X]
	for {
		s, more := h.next(t, told)
		if s == nil {
			return
		}
		if told = nil; s.follow() {
			told = s
		}
		if !more {
			late.Reset(maxTelling)
			runtime.Gosched()
		}
	}
}

// next returns who is due first, nil when there is nobody for this teller, and whether the
// teller has taken more. Who was told last is at rest, or due again when others have been.
func (h *Hub[K, X]) next(t *teller[K, X], told *session[K, X]) (_ *session[K, X], more bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case told == nil || told.place == gone:
	case t.replaced:
		told.locked(func() { told.barred = time.Now().Add(h.limits.SendTimeout) })
		h.senders.Go(told.send)
	case h.state.Load() == told.state:
		h.lay(told)
	default:
		h.due = append(h.due, told)
	}
	if len(t.mine) == 0 && !t.replaced {
		h.take(t)
	}
	if t.replaced || h.closed || len(t.mine) == 0 {
		h.dismiss(t)
		return nil, false
	}
	s := t.mine[0]
	t.mine[0], t.mine = nil, t.mine[1:]
	return s, len(t.mine) > 0
}

// take gives the teller those that are due first. It looks at each before any is told:
// nothing of thousands is in the processor's caches, so it waits for the memory of several
// at the same time, and not of one after the other.
func (h *Hub[K, X]) take(t *teller[K, X]) {
	n := min(yieldEvery, len(h.due))
	t.mine, h.due = h.due[:n:n], h.due[n:]
	for _, s := range t.mine {
		s.wire.Context()
	}
}

func (h *Hub[K, X]) dismiss(t *teller[K, X]) {
	if !t.replaced {
		h.telling--
	}
	t.ended = true
}

// replace has others told by another teller.
func (h *Hub[K, X]) replace(t *teller[K, X]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !t.ended && !t.replaced {
		h.telling--
		t.replaced = true
		h.due, t.mine = slices.Concat(t.mine, h.due), nil // they have waited the longest
		h.engage()
	}
}

// follow tells the peer of a session that is due what is new, and returns whether the
// session may be at rest. If not, or where telling it may take long, it has a sender of
// its own.
func (s *session[K, X]) follow() bool {
	if s.wire.Class(s.hub.State()) != s.class || !s.light(0) {
		s.hub.senders.Go(s.send)
		return false
	}
	n := s.news()
	if len(n.batch.chunks) > 0 || n.class != s.class || !s.light(n.size()) {
		s.handOver(n)
		return false
	}
	if err := s.advance(n); err != nil {
		s.end(err)
		return false
	}
	if !s.light(0) {
		s.hub.senders.Go(s.send)
		return false
	}
	return true
}

// handOver has a sender tell n.
func (s *session[K, X]) handOver(n news[K, X]) { s.hub.senders.Go(func() { s.tell(n) }) }
