// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// A Peer is who is at the other end of a stream, and what it understands.
type Peer struct {
	// Diffs says that it understands differences between two values of one item.
	Diffs bool
	// Acknowledges says that it says what it has applied.
	Acknowledges bool
	// Resumes says that it tells what it holds when it is asked.
	Resumes bool
	// HeldRoot is the exclusive or of the digests of what it holds, HeldCount their number.
	HeldRoot  uint64
	HeldCount int
}

// Heard is what a peer says after its hello: one of both.
type Heard struct {
	// Held are digests of items that the peer holds; Last says that these were all.
	Held []uint64
	Last bool
	// Ack is not nil when the peer acknowledges. It is good until Receive is called again.
	Ack *Ack
}

// An Ack says what became of a commit.
type Ack struct {
	Revision uint64
	// Error is why it could not be applied, empty when it is.
	Error string
	// Took is how long applying took, and Age how long ago it ended.
	Took, Age time.Duration
}

// A Wire is a stream in its own words. Class, Welcome, Own, Unwanted and Send are called
// by one goroutine at a time, Receive and Acknowledged by another, Context by any; all
// return soon after Serve has.
type Wire[K, X any] interface {
	// Context returns the context of the stream. It does not wait.
	Context() context.Context
	// Class returns the class of the peer in a state.
	Class(s *State[K, X]) string
	// Welcome answers the peer's hello.
	Welcome(sendHeld, startOver bool) error
	// Own returns what this peer alone is told when it goes from one state to another,
	// nothing when that is nothing. b is the difference between them, and old is nil when
	// the stream begins. It is called once for each step, and what it returns is sent.
	Own(old, new *State[K, X], b *Batch[K]) [][]byte
	// Unwanted tells which digests the peer holds in vain.
	Unwanted(digests []uint64) []byte
	// Send sends a message. It may wait for the peer to read, but not while what an honest
	// peer has not acknowledged is less than 32 KiB with this message.
	Send(m *Message) error
	// Receive waits for what the peer says next. io.EOF means that it has no more to say.
	Receive() (Heard, error)
	// Acknowledged is told of each acknowledgement, and when the commit was sent.
	Acknowledged(a Ack, sent time.Time)
}

// A Status is how a stream stands.
type Status struct {
	// Sent is the newest revision that the peer was told, Applied the newest that it has
	// applied. A revision in which nothing is new to it counts as both.
	Sent, Applied uint64
	// Behind is since when the peer has not applied what is newest; zero when it has.
	Behind time.Time
	// LastError is why it could not apply what it tried last, empty when it could.
	LastError string
	Failures  uint64
	// Took is how long applying took last.
	Took time.Duration
}

type commit struct {
	revision uint64
	sent     time.Time
	size     int // of all that was sent since the commit before
}

// A session is a stream that is being served. What each update needs comes first, close
// together: there are thousands of sessions, and none is in the processor's caches.
type session[K, X any] struct {
	hub  *Hub[K, X]
	wire Wire[K, X]

	// What the peer was told last. They belong to whoever tells it: the session's sender,
	// or while it is at rest, and has none, the hub.
	state *State[K, X]
	class string
	place int // among those at rest; under the hub's mutex
	peer  Peer

	mu      sync.Mutex
	open    []commit  // not acknowledged, the oldest first
	sending time.Time // since when a message is being sent; zero when none is
	unread  int       // the sum of the sizes of open
	size    int       // of what was sent since the last commit
	over    bool      // it has ended
	barred  time.Time // until when it may not be at rest, when it once took long
	status  Status
	cause   error     // why it has ended
	asked   time.Time // since when the peer has owed what it holds; zero when it does not
	failed  time.Time // when the oldest was sent that failed and was not applied since

	held  chan Heard
	acked chan struct{} // an acknowledgement has come
	ended chan struct{}
}

// Serve serves one stream until ctx is done, the peer leaves or is given up. report,
// when not nil, is given a function that says how the stream stands, for as long as it
// is served. When Serve returns, the caller ends the stream.
func (h *Hub[K, X]) Serve(ctx context.Context, peer Peer, wire Wire[K, X], report func(status func() Status)) error {
	s := &session[K, X]{
		hub: h, peer: peer, wire: wire,
		held: make(chan Heard), acked: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	if !h.enter(s) {
		return context.Canceled
	}
	defer h.leave(s)
	if report != nil {
		report(s.Status)
	}
	defer context.AfterFunc(ctx, func() { s.end(ctx.Err()) })()
	<-s.ended
	return s.end(nil)
}

// enter makes s one of the hub's sessions, with a receiver and a sender, and returns false
// when the hub has ended.
func (h *Hub[K, X]) enter(s *session[K, X]) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.sessions[s] = struct{}{}
	h.senders.Go(s.receive)
	h.senders.Go(func() {
		if err := s.begin(); err != nil {
			s.end(err)
			return
		}
		s.send()
	})
	return true
}

func (h *Hub[K, X]) leave(s *session[K, X]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.sessions, s)
	h.bury(s)
}

// end ends the session, and returns the first reason given.
func (s *session[K, X]) end(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over, s.cause = true, cause
		close(s.ended)
	}
	return s.cause
}

// check ends the session if its peer is stuck.
func (s *session[K, X]) check(now time.Time) {
	s.mu.Lock()
	late := func(since time.Time, limit time.Duration) bool { return !since.IsZero() && now.Sub(since) > limit }
	var cause error
	l := &s.hub.limits
	switch {
	case late(s.sending, l.SendTimeout):
		cause = ErrNotRead
	case late(s.asked, l.HelloTimeout):
		cause = ErrNotSaid
	case s.peer.Acknowledges && len(s.open) > 0 && late(s.open[0].sent, l.AckTimeout):
		cause = ErrNotAcknowledged
	}
	s.mu.Unlock()
	if cause != nil {
		s.end(cause)
	}
}

// Status says how the session stands.
func (s *session[K, X]) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	st.Behind = s.failed
	if len(s.open) > 0 && (st.Behind.IsZero() || s.open[0].sent.Before(st.Behind)) {
		st.Behind = s.open[0].sent
	}
	return st
}

// receive hears the peer.
func (s *session[K, X]) receive() {
	err := s.hearAll()
	if errors.Is(err, io.EOF) && !s.peer.Acknowledges {
		return // it has no more to say, but listens
	}
	s.end(err)
}

func (s *session[K, X]) hearAll() error {
	said := false // all that it holds
	for {
		m, err := s.wire.Receive()
		switch {
		case err != nil:
			return err
		case m.Ack != nil:
			if err := s.acknowledge(*m.Ack); err != nil {
				return err
			}
		case said || !s.owes():
			return ErrUnexpected
		default:
			said = m.Last
			select {
			case s.held <- m:
			case <-s.ended:
				return nil
			}
		}
	}
}

// owes says that the peer was asked what it holds.
func (s *session[K, X]) owes() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.asked.IsZero()
}

func (s *session[K, X]) acknowledge(a Ack) error {
	s.mu.Lock()
	if !s.peer.Acknowledges || a.Revision > s.status.Sent {
		s.mu.Unlock()
		return ErrUnexpected
	}
	var sent time.Time
	n := 0
	for n < len(s.open) && s.open[n].revision <= a.Revision {
		sent = s.open[n].sent
		s.unread -= s.open[n].size
		n++
	}
	if n > 0 && a.Error != "" && s.failed.IsZero() {
		s.failed = s.open[0].sent
	}
	s.open = slices.Delete(s.open, 0, n)
	s.status.LastError, s.status.Took = a.Error, a.Took
	if a.Error != "" {
		s.status.Failures++
	} else {
		s.failed = time.Time{}
		s.status.Applied = max(s.status.Applied, a.Revision)
		if len(s.open) == 0 {
			s.status.Applied = s.status.Sent
		}
	}
	s.mu.Unlock()
	select {
	case s.acked <- struct{}{}:
	default:
	}
	s.wire.Acknowledged(a, sent)
	return nil
}

// send tells the peer what is new, until the session is at rest or has ended.
func (s *session[K, X]) send() {
	if s.wait() {
		s.tell(s.news())
	}
}

// tell tells the peer news, and then is send.
func (s *session[K, X]) tell(n news[K, X]) {
	for {
		if err := s.advance(n); err != nil {
			s.end(err)
			return
		}
		if !s.wait() {
			return
		}
		n = s.news()
	}
}

// News are what leads to a newer state.
type news[K, X any] struct {
	state *State[K, X]
	class string
	batch *Batch[K]
	own   [][]byte
}

// size is how much the last message takes.
func (n *news[K, X]) size() int {
	size := n.batch.last.Size
	for _, p := range n.own {
		size += len(p)
	}
	return size
}

// news returns what leads to the present state.
func (s *session[K, X]) news() news[K, X] {
	n := news[K, X]{state: s.hub.State()}
	n.class = s.wire.Class(n.state)
	n.batch = s.hub.batch(s.state, n.state, s.class, n.class, s.peer.Diffs)
	n.own = s.wire.Own(s.state, n.state, n.batch)
	return n
}

// advance tells the peer news.
func (s *session[K, X]) advance(n news[K, X]) error {
	s.state, s.class = n.state, n.class
	if n.batch.empty && len(n.own) == 0 {
		s.covered(n.state.Revision)
		return nil
	}
	return s.update(n.batch, n.own, n.state.Revision)
}

// begin brings the peer to the present state, whatever it holds. Nothing takes effect
// before all of it has been said: a peer that comes back is not set back to an older state.
func (s *session[K, X]) begin() error {
	if s.peer.Resumes && s.peer.HeldCount > s.hub.limits.Held {
		return ErrHeldTooMuch
	}
	class := s.wire.Class(s.hub.State())
	resumes := s.peer.Resumes && s.peer.HeldCount > 0
	b := s.hub.base(class, resumes)
	if s.peer.HeldCount > 2*b.count+maxForeign {
		resumes = false // what it holds is mostly nothing of ours, or it lies
	}
	same := resumes && s.peer.HeldRoot == b.root && s.peer.HeldCount == b.count
	if resumes && !same {
		s.locked(func() { s.asked = time.Now() })
	}
	if err := s.guard(func() error { return s.wire.Welcome(resumes && !same, !resumes) }); err != nil {
		return err
	}
	first, own, read := &Batch[K]{}, s.wire.Own(nil, b.state, &b.batch), func() {}
	switch {
	case resumes && !same:
		held, err := s.hear()
		if err != nil {
			return err
		}
		progress, end := s.turn() // what differs is this peer's alone, and may be much
		defer end()
		read = progress
		var unwanted []uint64
		if first, unwanted = b.missing(class, held); len(unwanted) > 0 {
			own = append(own, s.wire.Unwanted(unwanted))
		}
	case !resumes:
		first = b.whole(class)
	}
	if !resumes && len(first.chunks) > 0 {
		progress, end := s.turn()
		defer end()
		read = progress
	}
	for _, c := range first.chunks {
		if err := s.transmit(c); err != nil {
			return err
		}
		read()
	}
	if len(first.tail) > 0 {
		own = append(own, first.tail)
	}
	s.state, s.class = b.state, class
	return s.catchUp(own)
}

// catchUp goes from the state that a peer began with to the present one, which is the
// first that takes effect. pieces are sent before.
func (s *session[K, X]) catchUp(pieces [][]byte) error {
	if now := s.hub.State(); now == s.state && s.wire.Class(now) == s.class {
		return s.update(&Batch[K]{last: newMessage(s.hub.end(nil, now))}, pieces, now.Revision)
	}
	if len(pieces) > 0 {
		if err := s.transmit(newMessage(pieces...)); err != nil {
			return err
		}
	}
	n := s.news()
	s.state, s.class = n.state, n.class
	return s.update(n.batch, n.own, n.state.Revision)
}

// maxForeign is how many items a peer may hold beyond twice what there is, to be asked
// for them: after most have been deleted, to send what is left is less.
const maxForeign = 1000

// maxTurn is how long a peer that does not read keeps others from their turn: short enough
// that a thousand of those keep nobody waiting for long.
const maxTurn = time.Second

// turn waits for the peer's turn. It lasts until end is called, or until progress has not
// been for a while.
func (s *session[K, X]) turn() (progress, end func()) {
	select {
	case s.hub.turns <- struct{}{}:
	case <-s.ended:
		return func() {}, func() {}
	}
	over := sync.OnceFunc(func() { <-s.hub.turns })
	timer := time.AfterFunc(maxTurn, over)
	return func() { timer.Reset(maxTurn) }, func() { timer.Stop(); over() }
}

// hear waits until the peer has said what it holds.
func (s *session[K, X]) hear() (map[uint64]struct{}, error) {
	defer s.locked(func() { s.asked = time.Time{} })
	held, said := map[uint64]struct{}{}, 0
	for {
		select {
		case m := <-s.held:
			if said += len(m.Held); said > s.peer.HeldCount {
				return nil, ErrHeldTooMuch
			}
			for _, d := range m.Held {
				held[d] = struct{}{}
			}
			if m.Last {
				return held, nil
			}
		case <-s.ended:
			return nil, nil
		}
	}
}

// wait returns true when there is a state that is newer and that the peer may be told,
// and false when the session is at rest or has ended.
func (s *session[K, X]) wait() bool {
	for !s.hub.rest(s) {
		newer := s.state.newer
		if s.full() {
			newer = nil
		}
		select {
		case <-newer:
			return true
		case <-s.acked:
		case <-s.ended:
			return false
		}
	}
	return false
}

// full says that the peer must first acknowledge what it has been sent.
func (s *session[K, X]) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peer.Acknowledges && len(s.open) >= s.hub.limits.Unacknowledged
}

// update sends what leads to a revision. What is the peer's own goes with the last
// message.
func (s *session[K, X]) update(b *Batch[K], own [][]byte, revision uint64) error {
	for _, c := range b.chunks {
		if err := s.transmit(c); err != nil {
			return err
		}
	}
	last := b.last
	if len(own) > 0 {
		last = newMessage(append(own, last.Pieces...)...)
	}
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil
	}
	now := time.Now()
	s.status.Sent = revision
	s.size += last.Size
	if s.peer.Acknowledges {
		s.open = append(s.open, commit{revision, now, s.size})
		s.unread += s.size
	} else {
		s.status.Applied = revision
	}
	s.size, s.sending = 0, now
	s.mu.Unlock()
	defer s.sent()
	return s.wire.Send(last)
}

// transmit sends a message that is no commit.
func (s *session[K, X]) transmit(m *Message) error {
	s.locked(func() { s.size += m.Size })
	return s.guard(func() error { return s.wire.Send(m) })
}

// covered notes a revision in which nothing is new to the peer.
func (s *session[K, X]) covered(revision uint64) {
	s.locked(func() {
		s.status.Sent = revision
		if len(s.open) == 0 && s.status.LastError == "" {
			s.status.Applied = revision
		}
	})
}

// guard notes that a message is on its way while fn sends it.
func (s *session[K, X]) guard(fn func() error) error {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil
	}
	s.sending = time.Now()
	s.mu.Unlock()
	defer s.sent()
	return fn()
}

func (s *session[K, X]) sent() { s.locked(func() { s.sending = time.Time{} }) }

func (s *session[K, X]) locked(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}
