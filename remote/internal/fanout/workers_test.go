// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// startPeers runs n correct peers until the test ends.
func startPeers(t *testing.T, f *fixture, n int) []*fakePeer {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var peers []*fakePeer
	for i := range n {
		p := newPeer(fmt.Sprint("peer-", i), Peer{Deltas: true, Acknowledges: true}, uint64(i))
		peers = append(peers, p)
		running.Go(func() { p.run(ctx, f) })
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	synctest.Wait()
	return peers
}

// A peer that acknowledges what it does not read blocks one worker, once.
func TestPeersThatAcknowledgeUnreadDataDelayOthersOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		defer f.stop()
		hub := f.current()
		hub.maxWorkers = 2
		var blocking []*fakeConn
		var acting sync.WaitGroup
		for i := range 6 {
			c := connect(hub, fmt.Sprint("blocking-", i), Peer{Acknowledges: true}, 4+i%2)
			blocking = append(blocking, c)
			acting.Go(func() {
				// The peer acknowledges everything until Send blocks. Every other one then
				// reads one message at a time.
				for i%2 == 0 || len(c.sent) < cap(c.sent) {
					time.Sleep(time.Millisecond)
					if len(c.sent) == cap(c.sent) {
						time.Sleep(maxWorkerTime * 3 / 2)
						<-c.sent
					}
					if !c.deliver(Received{Ack: &Ack{Revision: sentRevision(hub, c)}}) {
						return
					}
				}
			})
		}
		peers := startPeers(t, f, 50)
		start := time.Now()
		for i := range 200 {
			f.set("key", map[string]string{"": fmt.Sprint(i)})
			for !allCurrent(f, peers) {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, time.Since(start), 5*time.Second, "each blocks once")
		for i, c := range blocking {
			if i%2 == 0 {
				c.stop()
				<-c.ended
				continue
			}
			<-c.ended
			require.ErrorIs(t, c.err, ErrSendTimeout)
		}
		acting.Wait()
		require.Equal(t, 0, hub.workers)
	})
}

// sentRevision returns the newest revision that was sent on a connection.
func sentRevision(hub *testHub, c *fakeConn) uint64 {
	if s := streamOf(hub, c); s != nil {
		return s.Status().Sent
	}
	return 0
}

// streamOf returns the stream of a connection; nil when it is closed.
func streamOf(hub *testHub, c Conn[string, *testExtra]) *testStream {
	hub.mu.Lock()
	defer hub.mu.Unlock()
	for s := range hub.streams {
		if s.conn == c {
			return s
		}
	}
	return nil
}

// A slowConn takes a millisecond to send a message.
type slowConn struct {
	*fakeConn
	mu    sync.Mutex
	times []time.Time // of each message
}

func (s *slowConn) Welcome(bool, bool) error { return nil }

func (s *slowConn) Send(*Message) error {
	time.Sleep(time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times = append(s.times, time.Now())
	return nil
}

// Snapshots come faster than the workers can send them to all streams.
func TestWorkersServeAllStreamsEqually(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{Unacknowledged: 1000})
		hub := f.current()
		hub.maxWorkers = 2
		var conns []*slowConn
		var serving sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 200 {
			s := &slowConn{fakeConn: &fakeConn{name: fmt.Sprint(i), ended: make(chan struct{})}}
			conns = append(conns, s)
			serving.Go(func() { _ = hub.Serve(ctx, Peer{Acknowledges: true}, s, nil) })
		}
		time.Sleep(time.Second)
		start := time.Now()
		for i := range 500 {
			f.set("key", map[string]string{"": fmt.Sprint(i)})
			time.Sleep(10 * time.Millisecond)
		}
		least, most, longest := 1000, 0, time.Duration(0)
		for _, s := range conns {
			s.mu.Lock()
			n, last := 0, start
			for _, at := range s.times {
				if at.After(start) {
					n, longest, last = n+1, max(longest, at.Sub(last)), at
				}
			}
			s.mu.Unlock()
			least, most = min(least, n), max(most, n)
		}
		// Two workers need 100 ms for all streams.
		require.GreaterOrEqual(t, least, 45)
		require.LessOrEqual(t, most-least, 2)
		require.LessOrEqual(t, longest, 150*time.Millisecond)
		cancel()
		for _, s := range conns {
			close(s.ended)
		}
		serving.Wait()
		f.stop()
	})
}

// A stuckConn blocks in the second Send until unblock is closed.
type stuckConn struct {
	*slowConn
	unblock chan struct{}
	once    sync.Once
}

func (s *stuckConn) Send(m *Message) error {
	if s.count() > 1 {
		s.once.Do(func() { <-s.unblock })
	}
	return s.slowConn.Send(m)
}

func (s *stuckConn) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

// The streams that a blocked worker has claimed are sent to before those behind them. After
// their end the hub holds no reference to them.
func TestClaimedStreamsOfBlockedWorkerAreNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{Unacknowledged: 1000})
		hub := f.current()
		hub.maxWorkers = 1
		unblock, ended := make(chan struct{}), make(chan struct{})
		var conns []*slowConn
		var serving sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 1000 {
			s := &slowConn{fakeConn: &fakeConn{name: fmt.Sprint(i), ended: ended}}
			conns = append(conns, s)
			var conn Conn[string, *testExtra] = s
			if i == 0 {
				conn = &stuckConn{slowConn: s, unblock: unblock}
			}
			serving.Go(func() { _ = hub.Serve(ctx, Peer{Acknowledges: true}, conn, nil) })
			synctest.Wait()
			time.Sleep(2 * time.Millisecond) // they become idle one after the other
		}
		f.set("key", map[string]string{"": "1"})
		time.Sleep(5 * time.Second)
		start := time.Now()
		f.set("key", map[string]string{"": "2"})
		time.Sleep(5 * time.Second)
		for i, s := range conns[1:] {
			s.mu.Lock()
			delay := s.times[len(s.times)-1].Sub(start)
			s.mu.Unlock()
			require.Positive(t, delay, i)
			require.LessOrEqual(t, delay, maxWorkerTime+time.Duration(i+2)*time.Millisecond, i)
		}
		close(unblock)
		cancel()
		close(ended)
		serving.Wait()
		hub.mu.Lock()
		for _, list := range [][]*testStream{hub.queue[:cap(hub.queue)], hub.idle[:cap(hub.idle)]} {
			for _, s := range list {
				require.Nil(t, s)
			}
		}
		hub.mu.Unlock()
		f.stop()
	})
}

// The goroutine of the stream, not a worker, computes the update to another class.
func TestClassChangeDelaysNoOtherStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		defer f.stop()
		f.current().maxWorkers = 1
		f.set("slow", map[string]string{"": "1"})
		f.items["slow"].delay = map[string]time.Duration{"other": 5 * time.Second}
		c := connect(f.current(), "changing", Peer{Acknowledges: true}, 100)
		synctest.Wait()
		require.True(t, c.deliver(Received{Ack: &Ack{Revision: f.current().Snapshot().Revision}}))
		synctest.Wait()
		peers := startPeers(t, f, 20)
		f.extra = &testExtra{class: map[string]string{"changing": "other"}}
		start := time.Now()
		f.set("key", map[string]string{"": "2"})
		synctest.Wait()
		require.True(t, allCurrent(f, peers))
		require.Equal(t, start, time.Now())
		c.stop()
		<-c.ended
	})
}
