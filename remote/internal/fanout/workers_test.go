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

// crowd connects honest peers that live until the test ends.
func crowd(t *testing.T, at *place, n int) []*player {
	ctx, cancel := context.WithCancel(context.Background())
	var living sync.WaitGroup
	var players []*player
	for i := range n {
		p := newPlayer(fmt.Sprint("peer-", i), Peer{Diffs: true, Acknowledges: true}, uint64(i))
		players = append(players, p)
		living.Go(func() { p.live(ctx, at) })
	}
	t.Cleanup(func() {
		cancel()
		living.Wait()
	})
	synctest.Wait()
	return players
}

// TestWhoAcknowledgesUnreadDelaysNobody for long: it holds up one teller, once.
func TestWhoAcknowledgesUnreadDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		defer at.stop()
		hub := at.present()
		hub.tellers = 2
		var hostile []*link
		var acting sync.WaitGroup
		for i := range 6 {
			l := connect(hub, fmt.Sprint("hostile-", i), Peer{Acknowledges: true}, 4+i%2)
			hostile = append(hostile, l)
			acting.Go(func() {
				// It acknowledges all that it is sent, until it takes no more; some then read
				// a little.
				for i%2 == 0 || len(l.sent) < cap(l.sent) {
					time.Sleep(time.Millisecond)
					if len(l.sent) == cap(l.sent) {
						time.Sleep(maxTelling * 3 / 2)
						<-l.sent
					}
					if !l.say(Heard{Ack: &Ack{Revision: sentTo(hub, l)}}) {
						return
					}
				}
			})
		}
		friends := crowd(t, at, 50)
		began := time.Now()
		for i := range 200 {
			at.set("key", map[string]string{"": fmt.Sprint(i)})
			for !done(at, friends) {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(10 * time.Millisecond)
		}
		require.Less(t, time.Since(began), 5*time.Second, "each delays once")
		for i, l := range hostile {
			if i%2 == 0 {
				l.stop()
				<-l.gone
				continue
			}
			<-l.gone
			require.ErrorIs(t, l.err, ErrNotRead)
		}
		acting.Wait()
		require.Equal(t, 0, hub.telling)
	})
}

// sentTo is the newest revision that the stream was sent.
func sentTo(hub *testHub, l *link) uint64 {
	hub.mu.Lock()
	defer hub.mu.Unlock()
	for s := range hub.sessions {
		if s.wire == Wire[string, *around](l) {
			return s.Status().Sent
		}
	}
	return 0
}

// A sleepy link takes its time for each message.
type sleepy struct {
	*link
	mu   sync.Mutex
	told []time.Time
}

func (s *sleepy) Welcome(bool, bool) error { return nil }

func (s *sleepy) Send(*Message) error {
	time.Sleep(time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, time.Now())
	return nil
}

// TestAllAreToldEquallyOften while states come faster than all can be told.
func TestAllAreToldEquallyOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{Unacknowledged: 1000})
		hub := at.present()
		hub.tellers = 2
		var peers []*sleepy
		var serving sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 200 {
			s := &sleepy{link: &link{name: fmt.Sprint(i), gone: make(chan struct{})}}
			peers = append(peers, s)
			serving.Go(func() { _ = hub.Serve(ctx, Peer{Acknowledges: true}, s, nil) })
		}
		time.Sleep(time.Second)
		began := time.Now()
		for i := range 500 {
			at.set("key", map[string]string{"": fmt.Sprint(i)})
			time.Sleep(10 * time.Millisecond)
		}
		least, most, longest := 1000, 0, time.Duration(0)
		for _, s := range peers {
			s.mu.Lock()
			n, last := 0, began
			for _, at := range s.told {
				if at.After(began) {
					n, longest, last = n+1, max(longest, at.Sub(last)), at
				}
			}
			s.mu.Unlock()
			least, most = min(least, n), max(most, n)
		}
		// One round of two tellers takes 100 ms.
		require.GreaterOrEqual(t, least, 45)
		require.LessOrEqual(t, most-least, 2)
		require.LessOrEqual(t, longest, 150*time.Millisecond)
		cancel()
		for _, s := range peers {
			close(s.gone)
		}
		serving.Wait()
		at.stop()
	})
}

// A stuck link takes one message until the test lets it go on.
type stuck struct {
	*sleepy
	hold chan struct{}
	once sync.Once
}

func (s *stuck) Send(m *Message) error {
	if s.state() > 1 {
		s.once.Do(func() { <-s.hold })
	}
	return s.sleepy.Send(m)
}

func (s *stuck) state() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.told)
}

// TestNeighboursOfOneThatIsStuckAreNext: the teller that is stuck has taken them, but they
// are not told later than those behind them. When they have gone, nothing is left of them.
func TestNeighboursOfOneThatIsStuckAreNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{Unacknowledged: 1000})
		hub := at.present()
		hub.tellers = 1
		hold, gone := make(chan struct{}), make(chan struct{})
		var peers []*sleepy
		var serving sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 1000 {
			s := &sleepy{link: &link{name: fmt.Sprint(i), gone: gone}}
			peers = append(peers, s)
			var wire Wire[string, *around] = s
			if i == 0 {
				wire = &stuck{sleepy: s, hold: hold}
			}
			serving.Go(func() { _ = hub.Serve(ctx, Peer{Acknowledges: true}, wire, nil) })
			synctest.Wait()
			time.Sleep(2 * time.Millisecond) // they come to rest one after the other
		}
		at.set("key", map[string]string{"": "1"})
		time.Sleep(5 * time.Second)
		began := time.Now()
		at.set("key", map[string]string{"": "2"})
		time.Sleep(5 * time.Second)
		for i, s := range peers[1:] {
			s.mu.Lock()
			took := s.told[len(s.told)-1].Sub(began)
			s.mu.Unlock()
			require.Positive(t, took, i)
			require.LessOrEqual(t, took, maxTelling+time.Duration(i+2)*time.Millisecond, i)
		}
		close(hold)
		cancel()
		close(gone)
		serving.Wait()
		hub.mu.Lock()
		for _, left := range [][]*session[string, *around]{hub.due[:cap(hub.due)], hub.resting[:cap(hub.resting)]} {
			for _, s := range left {
				require.Nil(t, s)
			}
		}
		hub.mu.Unlock()
		at.stop()
	})
}

// TestOneThatChangesItsClassDelaysNobody: what it is told is computed by its own sender.
func TestOneThatChangesItsClassDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		defer at.stop()
		at.present().tellers = 1
		at.set("slow", map[string]string{"": "1"})
		at.things["slow"].slow = map[string]time.Duration{"moved": 5 * time.Second}
		l := connect(at.present(), "mover", Peer{Acknowledges: true}, 100)
		synctest.Wait()
		require.True(t, l.say(Heard{Ack: &Ack{Revision: at.present().State().Revision}}))
		synctest.Wait()
		friends := crowd(t, at, 20)
		at.around = &around{class: map[string]string{"mover": "moved"}}
		began := time.Now()
		at.set("key", map[string]string{"": "2"})
		synctest.Wait()
		require.True(t, done(at, friends))
		require.Equal(t, began, time.Now())
		l.stop()
		<-l.gone
	})
}
