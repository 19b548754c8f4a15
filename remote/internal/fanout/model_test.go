// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A modelConn is a connection that records what the hub does with it.
type modelConn struct {
	*fakeConn
	hello Peer
	limit int // of the window

	mu        sync.Mutex
	faults    []string
	calls     int       // of the sender, at this time
	sending   bool      // Send or Welcome is called at this time
	lastSend  time.Time // when the last call of Send or Welcome began
	welcome   bool      // Welcome has returned
	heldSince time.Time // when the digests were requested that the peer has not sent; or zero
	synced    bool      // Send of the first commit has returned
	window    []commit  // passed to Send, and not acknowledged
	pending   int       // bytes passed to Send since the last commit
}

// enter begins a call of the sender, of which there must not be another at the same time.
func (c *modelConn) enter() (leave func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls++; c.calls > 1 {
		c.faults = append(c.faults, "two senders")
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.calls--
		c.sending = false
	}
}

func (c *modelConn) Class(s *testSnapshot) string {
	defer c.enter()()
	return c.fakeConn.Class(s)
}

func (c *modelConn) Overlay(old, new *testSnapshot, b *testBatch) [][]byte {
	defer c.enter()()
	return c.fakeConn.Overlay(old, new, b)
}

func (c *modelConn) Welcome(sendHeld, fullSync bool) error {
	defer c.enter()()
	c.locked(func() {
		c.sending, c.lastSend = true, time.Now()
		if sendHeld {
			c.heldSince = time.Now()
		}
	})
	err := c.fakeConn.Welcome(sendHeld, fullSync)
	c.locked(func() { c.welcome = true })
	return err
}

func (c *modelConn) Send(m *Message) error {
	defer c.enter()()
	c.mu.Lock()
	c.sending, c.lastSend = true, time.Now()
	c.pending += m.Size
	text := join(m.Pieces)
	i := strings.LastIndex(text, "commit ")
	if i >= 0 {
		var revision uint64
		_, _ = fmt.Sscanf(text[i:], "commit %d;", &revision)
		if c.hello.Acknowledges {
			c.window = append(c.window, commit{revision, c.lastSend, c.pending})
		}
		c.pending = 0
		if len(c.window) > c.limit {
			c.faults = append(c.faults, fmt.Sprintf("%d commits in the window", len(c.window)))
		}
	}
	c.mu.Unlock()
	err := c.fakeConn.Send(m)
	c.locked(func() { c.synced = c.synced || i >= 0 })
	return err
}

func (c *modelConn) locked(fn func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn()
}

func (c *modelConn) windowBytes() (n int) {
	for _, e := range c.window {
		n += e.size
	}
	return n
}

// A modelPeer is a peer of which the test controls each step.
type modelPeer struct {
	*fakePeer
	conn      *modelConn
	stream    *testStream
	reader    *reader
	requested bool     // the peer has read the request for its digests and not sent them
	received  []uint64 // commits that the peer has read and not acknowledged
	stopped   bool     // the peer has disconnected
	violated  bool     // it has violated the protocol
}

// A model runs random events against a hub, and compares the states of its streams with those
// that follow from the events.
type model struct {
	t     *testing.T
	r     *rand.Rand
	f     *fixture
	peers []*modelPeer

	mu     sync.Mutex
	states map[*testStream]streamState
	seen   map[[2]streamState]int // number of transitions
	faults []string
}

func newModel(t *testing.T, seed uint64, seen map[[2]streamState]int) *model {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 3)), seen: seen, states: map[*testStream]streamState{}}
	limits := Limits{
		Unacknowledged: 1 + m.r.IntN(5), AckTimeout: 40 * time.Second, SendTimeout: 20 * time.Second,
		HelloTimeout: 10 * time.Second, InitialSyncs: 2 + m.r.IntN(10),
	}
	m.f = newObservedFixture(limits, m.observe)
	for i := range 14 {
		m.peers = append(m.peers, &modelPeer{fakePeer: newPeer(fmt.Sprint("peer-", i), Peer{
			Deltas: i%2 == 0, Acknowledges: i%4 > 0, Resumes: i%3 > 0,
		}, seed)})
	}
	return m
}

// observe follows the transitions of a stream. Each must begin in the state in which the one
// before has ended.
func (m *model) observe(s *testStream, from, to streamState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.states[s] != from {
		m.faults = append(m.faults, fmt.Sprintf("%v to %v in state %v", from, to, m.states[s]))
	}
	if to != stateClosed && !slices.Contains(modelTransitions()[from], to) {
		m.faults = append(m.faults, fmt.Sprintf("%v to %v", from, to))
	}
	m.states[s] = to
	m.seen[[2]streamState{from, to}]++
}

// step makes one random event happen.
func (m *model) step() {
	p := m.peers[m.r.IntN(len(m.peers))]
	if p.conn == nil {
		if m.r.IntN(3) == 0 {
			m.connect(p)
		}
		return
	}
	switch n := m.r.IntN(40); {
	case n < 8:
		m.change()
	case n < 20:
		for range 1 + m.r.IntN(6) {
			m.read(p)
		}
	case n < 28:
		m.acknowledge(p, "")
	case n < 31:
		m.acknowledge(p, "failed")
	case n < 33:
		m.sendHeld(p)
	case n == 33:
		p.stopped = true
		p.conn.stop()
	case n == 34 && m.r.IntN(4) == 0:
		p.violated = p.conn.deliver(Received{Ack: &Ack{Revision: 1 << 60}})
	case n < 37:
		m.drain()
	case n < 39:
		time.Sleep(time.Duration(m.r.IntN(300)) * time.Millisecond)
	case m.r.IntN(4) == 0:
		time.Sleep(time.Duration(m.r.IntN(30)) * time.Second)
	}
}

func (m *model) connect(p *modelPeer) {
	hello := p.hello
	if hello.Resumes {
		hello = p.resumeHello()
	}
	*p = modelPeer{fakePeer: p.fakePeer, reader: newReader(p.fakePeer)}
	p.conn = &modelConn{fakeConn: newConn(p.name, m.r.IntN(4)), hello: hello, limit: m.f.limits.Unacknowledged}
	p.conn.serve(m.f.current(), hello, p.conn)
	synctest.Wait()
	p.stream = streamOf(m.f.current(), p.conn)
	require.NotNil(m.t, p.stream)
}

// change changes the items or the classes: sometimes more than a worker may send.
func (m *model) change() {
	key := fmt.Sprint("key-", m.r.IntN(20))
	switch n := m.r.IntN(20); {
	case n == 0:
		extra := &testExtra{map[string]string{}, map[string]string{}}
		for _, p := range m.peers {
			extra.class[p.name] = []string{"", "", "", "a"}[m.r.IntN(4)]
			extra.overlay[p.name] = fmt.Sprint(m.r.IntN(3))
		}
		m.f.setExtra(extra)
	case n < 3:
		m.f.set(key, map[string]string{"": strings.Repeat("x", 20_000+m.r.IntN(60_000))})
	case n < 6:
		m.f.set(key, nil)
	default:
		m.f.set(key, randomValues(m.r))
	}
}

// read reads a message. It returns false when there is none.
func (m *model) read(p *modelPeer) bool {
	select {
	case pieces := <-p.conn.sent:
		sendHeld, revision := p.reader.message(pieces)
		p.requested = p.requested || sendHeld
		if revision > 0 && p.hello.Acknowledges {
			p.received = append(p.received, revision)
		}
		synctest.Wait()
		return true
	default:
		return false
	}
}

// sendHeld sends the digests that the peer holds, if they were requested.
func (m *model) sendHeld(p *modelPeer) bool {
	if !p.requested || !p.sendHeld(p.conn.fakeConn) {
		return false
	}
	p.requested = false
	p.conn.locked(func() { p.conn.heldSince = time.Time{} })
	return true
}

// acknowledge acknowledges one of the commits that the peer has read, and all before.
func (m *model) acknowledge(p *modelPeer, failure string) bool {
	if len(p.received) == 0 {
		return false
	}
	n := 1 + m.r.IntN(len(p.received))
	revision := p.received[n-1]
	p.received = p.received[n:]
	p.conn.locked(func() {
		p.conn.window = slices.DeleteFunc(p.conn.window, func(c commit) bool { return c.revision <= revision })
	})
	ok := p.conn.deliver(Received{Ack: &Ack{Revision: revision, Error: failure}})
	synctest.Wait()
	return ok
}

// drain lets all peers read, send and acknowledge everything.
func (m *model) drain() {
	for progress := true; progress; {
		progress = false
		for _, p := range m.peers {
			if p.conn != nil {
				synctest.Wait()
				progress = m.read(p) || m.sendHeld(p) || m.acknowledge(p, "") || progress
			}
		}
	}
}

// check compares all streams with the model, at a time when nothing happens without another
// event.
func (m *model) check() {
	synctest.Wait()
	m.mu.Lock()
	require.Empty(m.t, m.faults)
	m.mu.Unlock()
	for _, p := range m.peers {
		if p.conn == nil {
			continue
		}
		require.Empty(m.t, p.faults)
		require.Empty(m.t, p.conn.faults, p.name)
		select {
		case <-p.conn.ended:
			m.checkEnd(p)
			p.conn = nil
		default:
			require.False(m.t, p.violated, "%s: the stream has not ended", p.name)
		}
	}
	hub := m.f.current()
	hub.mu.Lock()
	defer hub.mu.Unlock()
	m.checkLists(hub)
	for _, p := range m.peers {
		if p.conn != nil {
			m.checkStream(hub, p)
		}
	}
}

// checkEnd checks that a stream has ended for a reason.
func (m *model) checkEnd(p *modelPeer) {
	m.mu.Lock()
	require.Equal(m.t, stateClosed, m.states[p.stream], p.name)
	m.mu.Unlock()
	switch err := p.conn.err; {
	case errors.Is(err, context.Canceled):
		require.True(m.t, p.stopped, p.name)
	case errors.Is(err, ErrUnexpectedMessage):
		require.True(m.t, p.violated, p.name)
	default:
		late, ok := p.conn.exceeds(m.f.limits)[err]
		require.True(m.t, ok && late > 0, "%s: %v after %v", p.name, err, late)
	}
}

// exceeds returns for how long the peer exceeds each timeout, by the error of the timeout.
func (c *modelConn) exceeds(limits Limits) map[error]time.Duration {
	out := map[error]time.Duration{ErrSendTimeout: time.Since(c.lastSend) - limits.SendTimeout}
	if !c.heldSince.IsZero() {
		out[ErrDigestsTimeout] = time.Since(c.heldSince) - limits.HelloTimeout
	}
	if len(c.window) > 0 {
		out[ErrAckTimeout] = time.Since(c.window[0].sent) - limits.AckTimeout
	}
	return out
}

// checkLists checks that the lists of the hub have exactly the streams that they must have.
func (m *model) checkLists(hub *testHub) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := map[streamState]int{}
	for s := range hub.streams {
		require.Equal(m.t, m.states[s], s.state)
		count[s.state]++
	}
	require.Len(m.t, hub.idle, count[stateIdle])
	for i, s := range hub.idle {
		require.Equal(m.t, stateIdle, s.state)
		require.Equal(m.t, i, s.idleIndex)
	}
	queued := map[*testStream]bool{}
	for _, s := range hub.queue {
		require.False(m.t, queued[s], "a stream is queued twice")
		queued[s] = true
		require.Contains(m.t, []streamState{stateQueued, stateClosed}, s.state)
		if s.state == stateQueued {
			count[stateQueued]--
		}
	}
	require.Zero(m.t, count[stateQueued], "a queued stream is not in the queue")
	require.LessOrEqual(m.t, hub.workers, hub.maxWorkers)
	require.True(m.t, hub.workers > 0 || len(hub.queue) == 0, "no worker for the queue")
	require.True(m.t, count[stateWorkerSending] > 0 || count[stateQueued]+count[stateClaimed] == 0, "a worker is free")
}

// checkStream compares the state of one stream with the model.
func (m *model) checkStream(hub *testHub, p *modelPeer) {
	s, c := p.stream, p.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Contains(m.t, m.expected(p), s.state, p.name)
	switch s.state {
	case stateIdle, stateWaiting:
		require.Same(m.t, hub.snapshot.Load(), s.sent, "%s: %v, but behind", p.name, s.state)
	case stateQueued, stateClaimed:
		require.NotSame(m.t, hub.snapshot.Load(), s.sent, "%s: %v, but not behind", p.name, s.state)
	default:
	}
	status := s.Status()
	require.LessOrEqual(m.t, status.Applied, status.Sent)
	require.LessOrEqual(m.t, len(c.window), c.limit)
	s.locked(func() {
		require.Len(m.t, s.window, len(c.window), p.name)
		require.Equal(m.t, c.windowBytes(), s.windowBytes, p.name)
	})
	for err, late := range c.exceeds(m.f.limits) {
		if c.sending || !errors.Is(err, ErrSendTimeout) {
			require.LessOrEqual(m.t, late, m.f.limits.HelloTimeout/4, "%s: %v", p.name, err)
		}
	}
}

// expected returns the states that follow from what has happened on a connection.
func (m *model) expected(p *modelPeer) []streamState {
	slow := false // the stream has blocked a worker
	p.stream.locked(func() { slow = !p.stream.noIdleUntil.IsZero() })
	switch c := p.conn; {
	case !c.welcome:
		return []streamState{stateHandshake}
	case !c.synced && !c.sending && !c.heldSince.IsZero():
		return []streamState{stateHandshake}
	case !c.synced:
		return []streamState{stateInitialSync}
	case c.sending:
		return []streamState{stateSending, stateWorkerSending}
	case !c.hello.Acknowledges:
		return []streamState{stateWaiting}
	case len(c.window) == c.limit:
		return []streamState{stateBlocked}
	case c.windowBytes() > maxIdleBytes:
		return []streamState{stateWaiting}
	case slow:
		return []streamState{stateWaiting, stateIdle, stateQueued, stateClaimed}
	}
	return []streamState{stateIdle, stateQueued, stateClaimed} // checkLists has checked the last two
}

// finish lets all peers catch up, and checks that they do.
func (m *model) finish() {
	m.f.set("last", map[string]string{"": "all", "a": "all"})
	for range 10 {
		m.drain()
		time.Sleep(2 * slotIdle)
	}
	m.check()
	newest := m.f.current().Snapshot().Revision
	for _, p := range m.peers {
		if p.conn == nil {
			continue
		}
		require.Equal(m.t, m.f.want(p.name), p.content(), p.name)
		status := p.stream.Status()
		require.Equal(m.t, newest, status.Sent, p.name)
		require.Equal(m.t, newest, status.Applied, p.name)
		require.Zero(m.t, status.BehindSince, p.name)
	}
}

// TestStreamsFollowModel runs random updates, reads, acknowledgements, failures, pauses,
// violations and reconnects, and compares the state of each stream with a model after each.
func TestStreamsFollowModel(t *testing.T) { //nolint:tparallel // the subtests share seen
	t.Parallel()
	seen := map[[2]streamState]int{}
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed, seen)
				defer m.f.stop()
				for range 400 {
					m.step()
					m.check()
				}
				m.finish()
			})
		})
	}
	for from := range lastState {
		for to := range lastState + 1 {
			if from.allows(to) {
				require.NotZero(t, seen[[2]streamState{from, to}], "no test of %v to %v", from, to)
			}
		}
	}
}
