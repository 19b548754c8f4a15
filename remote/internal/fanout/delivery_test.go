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

// randomValues returns the values of an item by class: often the same, sometimes none.
func randomValues(r *rand.Rand) map[string]string {
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

// Peers differ in speed and in what they support; they disconnect, fail to apply commits and
// change their class, and the hub restarts.
func TestEveryPeerReachesNewestSnapshot(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			f := newFixture(Limits{})
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			var peers []*fakePeer
			for i := range 12 {
				p := newPeer(fmt.Sprint("peer-", i), Peer{Deltas: i%2 == 0, Acknowledges: i%3 > 0, Resumes: i%4 > 0}, seed*100+uint64(i))
				p.delay = []time.Duration{0, time.Millisecond, 300 * time.Millisecond}[r.IntN(3)]
				p.disconnects, p.failures = []int{0, 9, 40}[r.IntN(3)], r.IntN(2)*3
				peers = append(peers, p)
				running.Go(func() { p.run(ctx, f) })
			}
			changeClasses := func() {
				extra := &testExtra{map[string]string{}, map[string]string{}}
				for _, p := range peers {
					extra.class[p.name] = []string{"", "a", "b", "unknown"}[r.IntN(4)]
					extra.overlay[p.name] = fmt.Sprint(r.IntN(3))
				}
				f.setExtra(extra)
			}
			for range 400 {
				key := fmt.Sprint("key-", r.IntN(30))
				switch r.IntN(40) {
				case 0:
					changeClasses()
				case 1:
					if r.IntN(3) == 0 {
						f.restart()
					}
				case 2, 3, 4, 5, 6, 7, 8:
					f.set(key, nil)
				default:
					f.set(key, randomValues(r))
				}
				if r.IntN(3) == 0 {
					time.Sleep(rand.N(100 * time.Millisecond))
				}
			}
			// Long enough for the slowest peer, and for one that disconnects all the time.
			for range 100 {
				time.Sleep(30 * time.Second)
				if allCurrent(f, peers) {
					break
				}
			}
			cancel()
			running.Wait()
			f.stop()
			for _, p := range peers {
				require.Empty(t, p.faults, "seed %d", seed)
				require.Equal(t, f.want(p.name), p.content(), "seed %d, %s", seed, p.name)
				require.NotZero(t, p.commits)
			}
		})
	}
}

// A peer that resumes is sent only what differs from what it holds, also by another hub.
func TestResumingPeerReceivesOnlyDifferences(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		for i := range 100 {
			f.set(fmt.Sprint("key-", i), map[string]string{"": fmt.Sprint(i)})
		}
		p := newPeer("peer", Peer{Deltas: true, Acknowledges: true, Resumes: true}, 1)
		sync := func() {
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan struct{})
			go func() { defer close(ended); p.run(ctx, f) }()
			synctest.Wait()
			cancel()
			<-ended
			require.Equal(t, f.want(p.name), p.content())
			require.Empty(t, p.faults)
		}
		sync()
		resume := func() (messages []string) {
			c := connect(f.current(), p.name, p.resumeHello(), 10)
			defer func() { c.stop(); <-c.ended }()
			synctest.Wait()
			if len(c.sent) == 1 { // only the welcome, which requests the digests
				require.True(t, p.sendHeld(c))
				synctest.Wait()
			}
			for len(c.sent) > 0 {
				messages = append(messages, join(<-c.sent))
			}
			return messages
		}
		f.restart()
		require.Equal(t, []string{"welcome false false;", "overlay ;commit 1;"}, resume(), "nothing has changed")
		f.set("key-7", map[string]string{"": "new"})
		f.set("key-8", nil)
		time.Sleep(time.Minute) // no initial snapshot is cached any more
		require.Equal(t, []string{
			"welcome true false;", fmt.Sprintf("overlay ;removed %v;key-7=new;commit 3;", []uint64{digest("key-7", "7"), digest("key-8", "8")}),
		}, inOrder(resume(), digest("key-7", "7"), digest("key-8", "8")))
		sync()
		f.stop()
	})
}

// inOrder replaces the list of b and a by the list of a and b.
func inOrder(messages []string, a, b uint64) (out []string) {
	for _, m := range messages {
		out = append(out, strings.ReplaceAll(m, fmt.Sprint([]uint64{b, a}), fmt.Sprint([]uint64{a, b})))
	}
	return out
}

// Updates are combined for a stream that cannot be sent to, and other streams do not wait.
func TestSlowPeersSkipIntermediateSnapshots(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{Unacknowledged: 4})
		ctx, cancel := context.WithCancel(context.Background())
		fast := newPeer("fast", Peer{Deltas: true, Acknowledges: true}, 1)
		var running sync.WaitGroup
		running.Go(func() { fast.run(ctx, f) })
		noAcks := connect(f.current(), "no-acks", Peer{Acknowledges: true}, 100)
		noReads := connect(f.current(), "no-reads", Peer{}, 0)
		start := time.Now()
		synctest.Wait()
		for i := range 1000 {
			f.set("key", map[string]string{"": fmt.Sprint(i)})
			synctest.Wait()
			require.Equal(t, f.want("fast"), fast.content(), "the fast peer does not wait for others")
		}
		require.Equal(t, start, time.Now())
		require.Len(t, noAcks.sent, 1+4, "welcome, and a full window")
		require.True(t, noAcks.deliver(Received{Ack: &Ack{Revision: 4}}))
		synctest.Wait()
		require.Len(t, noAcks.sent, 1+4+1, "one update with all changes")
		var last [][]byte
		for len(noAcks.sent) > 0 {
			last = <-noAcks.sent
		}
		require.Equal(t, "key=999;commit 1001;", join(last))
		var messages []string
		for len(messages) < 3 {
			messages = append(messages, join(<-noReads.sent))
			synctest.Wait()
		}
		require.Equal(t, []string{"welcome false true;", "overlay ;", "key=999;commit 1001;"}, messages, "the first commit is the newest")
		cancel()
		running.Wait()
		f.stop()
		<-noAcks.ended
		<-noReads.ended
	})
}

func TestStreamsOfAClassShareBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		f.set("key", map[string]string{"": "1"})
		var conns []*fakeConn
		for i := range 100 {
			conns = append(conns, connect(f.current(), fmt.Sprint(i), Peer{Deltas: true}, 10))
		}
		synctest.Wait()
		f.set("key", map[string]string{"": "2"})
		synctest.Wait()
		var first [][][]byte
		for _, c := range conns {
			require.Len(t, c.sent, 3)
			<-c.sent // the welcome
			full, delta := <-c.sent, <-c.sent
			require.Equal(t, "key:1>2;commit 3;", join(delta))
			if first == nil {
				first = [][][]byte{full, delta}
			}
			require.Same(t, &first[0][1][0], &full[1][0]) // full[0] is the overlay
			require.Same(t, &first[1][0][0], &delta[0][0])
		}
		f.stop()
		for _, c := range conns {
			<-c.ended
		}
	})
}

// Sums that are computed from those of an older snapshot are the same as new ones.
func TestInitialSumsCoverAllItems(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, f := rand.New(rand.NewPCG(1, 8)), newFixture(Limits{})
		for range 500 {
			for range r.IntN(4) {
				key := fmt.Sprint("key-", r.IntN(20))
				if r.IntN(3) == 0 {
					f.set(key, nil)
				} else {
					f.set(key, randomValues(r))
				}
			}
			for _, class := range []string{"", "a", "b"}[:1+r.IntN(3)] {
				i := f.current().initial(class, r.IntN(2) == 0)
				fresh := initial[string, *testExtra]{snapshot: i.snapshot}
				fresh.sum(class, nil)
				require.Equal(t, fresh.xor, i.xor)
				require.Equal(t, fresh.count, i.count)
			}
		}
		f.stop()
	})
}

// Requesting many foreign digests costs more than sending all items.
func TestPeerWithManyForeignItemsGetsFullSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		f.set("key", map[string]string{"": "1"})
		for held, want := range map[int]string{
			2 + maxForeign: "welcome true false;", 3 + maxForeign: "welcome false true;",
		} {
			c := connect(f.current(), "peer", Peer{Resumes: true, HeldCount: held}, 10)
			synctest.Wait()
			require.Equal(t, want, join(<-c.sent))
			c.stop()
			<-c.ended
		}
		f.stop()
	})
}

// The first commit of a stream is of the newest snapshot, also when the stream begins with a
// cached older one.
func TestFirstCommitIsNewestSnapshot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		f.set("key", map[string]string{"": "old"})
		first := connect(f.current(), "first", Peer{}, 10) // caches an initial snapshot
		synctest.Wait()
		f.set("key", map[string]string{"": "new"})
		for _, hello := range []Peer{
			{}, {Deltas: true}, {Resumes: true, HeldCount: 1, HeldXor: digest("key", "new")},
		} {
			c := connect(f.current(), "peer", hello, 10)
			synctest.Wait()
			sent := joinAll(c.sent)
			require.Equal(t, 1, strings.Count(sent, "commit"), sent)
			require.True(t, strings.HasSuffix(sent, "commit 3;"), sent)
			if hello.Resumes {
				require.NotContains(t, sent, "key", "the peer holds the item")
			} else {
				require.Contains(t, sent, "new", sent)
			}
			c.stop()
			<-c.ended
		}
		first.stop()
		<-first.ended
		f.stop()
	})
}
