// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// values are what classes see of an item: often the same, sometimes nothing.
func values(r *rand.Rand) map[string]string {
	out := map[string]string{}
	shared := fmt.Sprintf("%0*d", 1+r.IntN(3), r.IntN(50))
	for _, class := range []string{"", "a", "b"} {
		switch r.IntN(4) {
		case 0:
			out[class] = fmt.Sprint(r.IntN(50))
		case 1:
		default:
			out[class] = shared
		}
	}
	return out
}

// TestEveryPeerEndsWithWhatTheHubHolds: whatever peers understand, however slow they
// are, and whatever becomes of them, of their class and of the hub.
func TestEveryPeerEndsWithWhatTheHubHolds(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			at := newPlace(Limits{})
			ctx, cancel := context.WithCancel(context.Background())
			var living sync.WaitGroup
			var players []*player
			for i := range 12 {
				p := newPlayer(fmt.Sprint("peer-", i), Peer{Diffs: i%2 == 0, Acknowledges: i%3 > 0, Resumes: i%4 > 0}, seed*100+uint64(i))
				p.slow = []time.Duration{0, time.Millisecond, 300 * time.Millisecond}[r.IntN(3)]
				p.leaves, p.refuses = []int{0, 9, 40}[r.IntN(3)], r.IntN(2)*3
				players = append(players, p)
				living.Go(func() { p.live(ctx, at) })
			}
			resettle := func() {
				a := &around{map[string]string{}, map[string]string{}}
				for _, p := range players {
					a.class[p.name] = []string{"", "a", "b", "unheard of"}[r.IntN(4)]
					a.own[p.name] = fmt.Sprint(r.IntN(3))
				}
				at.surround(a)
			}
			for range 400 {
				key := fmt.Sprint("key-", r.IntN(30))
				switch r.IntN(40) {
				case 0:
					resettle()
				case 1:
					if r.IntN(3) == 0 {
						at.restart()
					}
				case 2, 3, 4, 5, 6, 7, 8:
					at.set(key, nil)
				default:
					at.set(key, values(r))
				}
				if r.IntN(3) == 0 {
					time.Sleep(rand.N(100 * time.Millisecond))
				}
			}
			// Long enough for the slowest, and for one that leaves all the time.
			for range 100 {
				time.Sleep(30 * time.Second)
				if done(at, players) {
					break
				}
			}
			cancel()
			living.Wait()
			at.stop()
			for _, p := range players {
				require.Empty(t, p.faults, "seed %d", seed)
				require.Equal(t, at.wanted(p.name), p.holds(), "seed %d, %s", seed, p.name)
				require.NotZero(t, p.commits)
			}
		})
	}
}

func done(at *place, players []*player) bool {
	for _, p := range players {
		if at.wanted(p.name) != p.holds() {
			return false
		}
	}
	return true
}

// TestOneWhoComesBackIsToldWhatDiffers, and nothing else, by whichever hub.
func TestOneWhoComesBackIsToldWhatDiffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		for i := range 100 {
			at.set(fmt.Sprint("key-", i), map[string]string{"": fmt.Sprint(i)})
		}
		p := newPlayer("peer", Peer{Diffs: true, Acknowledges: true, Resumes: true}, 1)
		visit := func() {
			ctx, cancel := context.WithCancel(context.Background())
			gone := make(chan struct{})
			go func() { defer close(gone); p.live(ctx, at) }()
			synctest.Wait()
			cancel()
			<-gone
			require.Equal(t, at.wanted(p.name), p.holds())
			require.Empty(t, p.faults)
		}
		visit()
		listen := func() (said []string) {
			hello := p.can
			for k, v := range p.held {
				hello.HeldRoot ^= digest(k, v)
			}
			hello.HeldCount = len(p.held)
			l := connect(at.present(), p.name, hello, 10)
			defer func() { l.stop(); <-l.gone }()
			synctest.Wait()
			if len(l.sent) == 1 { // only the welcome: it asks
				require.True(t, p.sayHeld(l))
				synctest.Wait()
			}
			for len(l.sent) > 0 {
				text := ""
				for _, piece := range <-l.sent {
					text += string(piece)
				}
				said = append(said, text)
			}
			return said
		}
		at.restart()
		require.Equal(t, []string{"welcome false false;", "own ;commit 1;"}, listen(), "nothing has changed")
		at.set("key-7", map[string]string{"": "new"})
		at.set("key-8", nil)
		time.Sleep(time.Minute) // no state is remembered so long
		require.Equal(t, []string{
			"welcome true false;", fmt.Sprintf("own ;unwanted %v;key-7=new;commit 3;", []uint64{digest("key-7", "7"), digest("key-8", "8")}),
		}, ordered(listen(), digest("key-7", "7"), digest("key-8", "8")))
		visit()
		at.stop()
	})
}

// ordered writes two digests, which come in any order, in the given one.
func ordered(said []string, a, b uint64) []string {
	from, to := fmt.Sprint([]uint64{b, a}), fmt.Sprint([]uint64{a, b})
	for i, s := range said {
		if n := len(s) - len(from); n > 0 {
			for j := range n {
				if s[j:j+len(from)] == from {
					said[i] = s[:j] + to + s[j+len(from):]
				}
			}
		}
	}
	return said
}

// TestSlowPeersAreToldTheNewest: nothing is queued for who does not read, and nobody
// waits for him.
func TestSlowPeersAreToldTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{Unacknowledged: 4})
		ctx, cancel := context.WithCancel(context.Background())
		fast := newPlayer("fast", Peer{Diffs: true, Acknowledges: true}, 1)
		var living sync.WaitGroup
		living.Go(func() { fast.live(ctx, at) })
		quiet := connect(at.present(), "quiet", Peer{Acknowledges: true}, 100)
		sleeper := connect(at.present(), "sleeper", Peer{}, 0)
		began := time.Now()
		synctest.Wait()
		for i := range 1000 {
			at.set("key", map[string]string{"": fmt.Sprint(i)})
			synctest.Wait()
			require.Equal(t, at.wanted("fast"), fast.holds(), "the fast one waits for nobody")
		}
		require.Equal(t, began, time.Now())
		require.Len(t, quiet.sent, 1+4, "welcome, and what may be unacknowledged")
		require.True(t, quiet.say(Heard{Ack: &Ack{Revision: 4}}))
		synctest.Wait()
		require.Len(t, quiet.sent, 1+4+1, "all that was missed at once")
		require.Equal(t, "key=999;commit 1001;", join(last(quiet.sent)))
		var heard []string
		for len(heard) < 3 {
			heard = append(heard, join(<-sleeper.sent))
			synctest.Wait()
		}
		require.Equal(t, []string{"welcome false true;", "own ;", "key=999;commit 1001;"}, heard, "nothing old takes effect")
		cancel()
		living.Wait()
		at.stop()
		<-quiet.gone
		<-sleeper.gone
	})
}

func last(c chan [][]byte) (pieces [][]byte) {
	for len(c) > 0 {
		pieces = <-c
	}
	return pieces
}

func join(pieces [][]byte) (text string) {
	for _, p := range pieces {
		text += string(p)
	}
	return text
}

// TestPeersOfAClassShareBytes: however many there are.
func TestPeersOfAClassShareBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		at.set("key", map[string]string{"": "1"})
		var links []*link
		for i := range 100 {
			links = append(links, connect(at.present(), fmt.Sprint(i), Peer{Diffs: true}, 10))
		}
		synctest.Wait()
		at.set("key", map[string]string{"": "2"})
		synctest.Wait()
		var first [][][]byte
		for _, l := range links {
			require.Len(t, l.sent, 3)
			<-l.sent // the welcome
			whole, diff := <-l.sent, <-l.sent
			require.Equal(t, "key:1>2;commit 3;", join(diff))
			if first == nil {
				first = [][][]byte{whole, diff}
			}
			require.Same(t, &first[0][1][0], &whole[1][0]) // the first piece is its own
			require.Same(t, &first[1][0][0], &diff[0][0])
		}
		at.stop()
		for _, l := range links {
			<-l.gone
		}
	})
}

// TestSumsAreOfWhatThereIs: also when they are made from those of an older state.
func TestSumsAreOfWhatThereIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, at := rand.New(rand.NewPCG(1, 8)), newPlace(Limits{})
		for range 500 {
			for range r.IntN(4) {
				key := fmt.Sprint("key-", r.IntN(20))
				if r.IntN(3) == 0 {
					at.set(key, nil)
				} else {
					at.set(key, values(r))
				}
			}
			for _, class := range []string{"", "a", "b"}[:1+r.IntN(3)] {
				b := at.present().base(class, r.IntN(2) == 0)
				fresh := base[string, *around]{state: b.state}
				fresh.sum(class, nil)
				require.Equal(t, fresh.root, b.root)
				require.Equal(t, fresh.count, b.count)
			}
		}
		at.stop()
	})
}

// TestOneWhoHoldsMuchElseStartsOver: to ask it for all that is more than to tell it all.
func TestOneWhoHoldsMuchElseStartsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		at.set("key", map[string]string{"": "1"})
		for held, want := range map[int]string{
			2 + maxForeign: "welcome true false;", 3 + maxForeign: "welcome false true;",
		} {
			l := connect(at.present(), "peer", Peer{Resumes: true, HeldCount: held}, 10)
			synctest.Wait()
			require.Equal(t, want, join(<-l.sent))
			l.stop()
			<-l.gone
		}
		at.stop()
	})
}

// TestNobodyIsSetBack: the first commit of a stream is the present state, also when others
// have begun with an older one a moment ago.
func TestNobodyIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		at.set("key", map[string]string{"": "old"})
		first := connect(at.present(), "first", Peer{}, 10) // makes a state to begin with
		synctest.Wait()
		at.set("key", map[string]string{"": "new"})
		for _, hello := range []Peer{
			{}, {Diffs: true}, {Resumes: true, HeldCount: 1, HeldRoot: digest("key", "new")},
		} {
			l := connect(at.present(), "peer", hello, 10)
			synctest.Wait()
			said := ""
			for len(l.sent) > 0 {
				said += join(<-l.sent)
			}
			require.Equal(t, 1, strings.Count(said, "commit"), said)
			require.True(t, strings.HasSuffix(said, "commit 3;"), said)
			if hello.Resumes {
				require.NotContains(t, said, "key", "it holds what is there")
			} else {
				require.Contains(t, said, "new", said)
			}
			l.stop()
			<-l.gone
		}
		first.stop()
		<-first.gone
		at.stop()
	})
}
