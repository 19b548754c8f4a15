package fanout

import (
	"runtime"
	"sync/atomic"
)

// Most streams have been told everything, and wait. A goroutine for each of thousands
// costs memory, and waking it more than what it then does; so those that wait are at
// rest, in a list of the hub, and a few goroutines tell all of them what is new.

// maxUnread is how much a peer may not have acknowledged for its stream to be at rest:
// so much can be sent without waiting for the peer.
const maxUnread = 32 << 10

// gone is the place of a session that has ended.
const gone = -1

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
	s.place = len(h.resting)
	h.resting = append(h.resting, s)
	return true
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
	return s.peer.Acknowledges && len(s.open) < s.hub.limits.Unacknowledged && s.unread+bytes <= maxUnread
}

// A round is those that were at rest when there was a new state.
type round[K, X any] struct {
	sessions []*session[K, X]
	next     atomic.Int64
}

// fewSessions are too few for another goroutine.
const fewSessions = 64

// tell tells those at rest that there is a new state. They are told by goroutines which
// end when all have been.
func (h *Hub[K, X]) tell() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.resting) == 0 {
		return
	}
	r := &round[K, X]{sessions: h.resting}
	h.resting = make([]*session[K, X], 0, len(r.sessions))
	for range min(h.tellers, 1+len(r.sessions)/fewSessions) {
		h.senders.Go(r.run)
	}
}

// yieldEvery is after how many streams a teller lets others run. What is sent is written by
// goroutines of the connections: they do it best while all that they need is still in the
// processor's caches.
const yieldEvery = 8

func (r *round[K, X]) run() {
	for told := 1; ; told++ {
		i := int(r.next.Add(1)) - 1
		if i >= len(r.sessions) {
			return
		}
		r.sessions[i].follow()
		if told%yieldEvery == 0 {
			runtime.Gosched()
		}
	}
}

// follow tells the peer of a session at rest what is new. Where that may take long, the
// session gets a sender of its own.
func (s *session[K, X]) follow() {
	for s.light(0) {
		n := s.news()
		if len(n.batch.chunks) > 0 || n.class != s.class || !s.light(n.size()) {
			s.handOver(n)
			return
		}
		if err := s.advance(n); err != nil {
			s.end(err)
			return
		}
		if s.hub.rest(s) {
			return
		}
		if s.hub.State() == s.state {
			break // its peer must acknowledge first, or it has ended
		}
	}
	s.hub.senders.Go(s.send)
}

// handOver has a sender tell n.
func (s *session[K, X]) handOver(n news[K, X]) { s.hub.senders.Go(func() { s.tell(n) }) }
