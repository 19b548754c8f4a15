// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/diffstore"
)

// TestHostilePeersAreEnded: each with its own error, in time, while others are told
// everything at once. No goroutine is left: synctest would say so.
func TestHostilePeersAreEnded(t *testing.T) {
	limits := Limits{AckTimeout: 40 * time.Second, SendTimeout: 20 * time.Second, HelloTimeout: 10 * time.Second, Held: 20}
	read := func(l *link) {
		for {
			select {
			case <-l.sent:
			case <-l.gone:
				return
			}
		}
	}
	asked := Peer{Resumes: true, HeldRoot: 1, HeldCount: 10}
	for _, h := range []struct {
		name   string
		peer   Peer
		plays  func(l *link)
		want   error
		within time.Duration // zero for at once
	}{
		{"never reads", Peer{}, func(*link) {}, ErrNotRead, limits.SendTimeout},
		{"reads the welcome only", Peer{}, func(l *link) { <-l.sent }, ErrNotRead, limits.SendTimeout},
		{"never acknowledges", Peer{Acknowledges: true}, read, ErrNotAcknowledged, limits.AckTimeout},
		{"acknowledges what is older than all", Peer{Acknowledges: true}, func(l *link) {
			go read(l)
			for l.say(Heard{Ack: &Ack{}}) {
				time.Sleep(time.Second)
			}
		}, ErrNotAcknowledged, limits.AckTimeout},
		{"never says what it holds", asked, read, ErrNotSaid, limits.HelloTimeout},
		{"says what it holds for ever", asked, func(l *link) {
			<-l.sent // it is asked
			go read(l)
			for l.say(Heard{}) {
				time.Sleep(time.Second)
			}
		}, ErrNotSaid, limits.HelloTimeout},
		{"has no more to say when asked", asked, func(l *link) { close(l.eof); read(l) }, ErrNotSaid, limits.HelloTimeout},
		{"holds more than it said", asked, func(l *link) {
			<-l.sent // it is asked
			go read(l)
			for range 11 {
				l.say(Heard{Held: []uint64{7}})
			}
		}, ErrHeldTooMuch, 0},
		{"holds more than anybody can", Peer{Resumes: true, HeldCount: 21}, func(*link) {}, ErrHeldTooMuch, 0},
		{"says what it holds twice", asked, func(l *link) {
			<-l.sent // it is asked
			go read(l)
			for l.say(Heard{Held: []uint64{1, 2}, Last: true}) {
			}
		}, ErrUnexpected, 0},
		{"says what it was not asked", Peer{}, func(l *link) { go read(l); l.say(Heard{Held: []uint64{1}}) }, ErrUnexpected, 0},
		{"says it before anything", Peer{Acknowledges: true}, func(l *link) {
			l.say(Heard{Last: true})
			read(l)
		}, ErrUnexpected, 0},
		{"acknowledges the future", Peer{Acknowledges: true}, func(l *link) { go read(l); l.say(Heard{Ack: &Ack{Revision: 1 << 60}}) }, ErrUnexpected, 0},
		{"acknowledges and said that it would not", Peer{}, func(l *link) { go read(l); l.say(Heard{Ack: &Ack{Revision: 1}}) }, ErrUnexpected, 0},
		{"acknowledges what it was not even welcomed to", Peer{Acknowledges: true}, func(l *link) { l.say(Heard{Ack: &Ack{Revision: 1}}) }, ErrUnexpected, 0},
		{"leaves", Peer{Acknowledges: true}, func(l *link) { go read(l); close(l.eof) }, io.EOF, 0},
	} {
		t.Run(h.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				at := newPlace(limits)
				at.set("key", map[string]string{"": "0"})
				ctx, cancel := context.WithCancel(context.Background())
				friend, gone := newPlayer("friend", Peer{Diffs: true, Acknowledges: true}, 1), make(chan struct{})
				go func() { defer close(gone); friend.live(ctx, at) }()
				began := time.Now()
				l := connect(at.present(), "hostile", h.peer, 0)
				go h.plays(l)
				ended := func() bool {
					synctest.Wait()
					select {
					case <-l.gone:
						return true
					default:
						return false
					}
				}
				for i := 0; !ended(); i++ {
					at.set("key", map[string]string{"": fmt.Sprint(i)})
					synctest.Wait()
					require.Equal(t, at.wanted("friend"), friend.holds(), "the friend waits for nobody")
					time.Sleep(time.Second)
					require.Less(t, time.Since(began), 2*time.Minute, "it is still there")
				}
				require.ErrorIs(t, l.err, h.want)
				took := time.Since(began)
				require.GreaterOrEqual(t, took, h.within)
				require.LessOrEqual(t, took, h.within+h.within/2+3*time.Second)
				cancel()
				<-gone
				at.stop()
				require.Empty(t, at.present().sessions)
			})
		})
	}
}

// TestOneThatOnlyListensStays: a peer that has no more to say may still hear.
func TestOneThatOnlyListensStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		l := connect(at.present(), "listener", Peer{}, 10)
		close(l.eof)
		time.Sleep(time.Hour)
		at.set("key", map[string]string{"": "1"})
		synctest.Wait()
		require.Len(t, l.sent, 3)
		at.stop()
		<-l.gone
		require.ErrorIs(t, l.err, context.Canceled)
	})
}

// TestWhatAHubRemembersIsBounded: by nothing that peers do, nor by how much changes.
func TestWhatAHubRemembersIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		at.set("key", map[string]string{"": "0"})
		// A thousand peers of a thousand classes, each of which stops somewhere else.
		var links []*link
		a := &around{class: map[string]string{}, own: map[string]string{}}
		for i := range 1000 {
			a.class[fmt.Sprint(i)] = fmt.Sprint("class-", i)
		}
		at.surround(a)
		for i := range 1000 {
			links = append(links, connect(at.present(), fmt.Sprint(i), Peer{Diffs: true}, 2))
			at.set("key", map[string]string{"": fmt.Sprint(i), fmt.Sprint("class-", i): "own"})
			if i%10 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		hub := at.present()
		require.LessOrEqual(t, len(hub.batches), maxBatches)
		require.LessOrEqual(t, len(hub.bases), maxBases)
		for _, l := range links {
			for range 3 {
				select {
				case <-l.sent:
				default:
				}
			}
		}
		time.Sleep(2 * baseLife)
		at.set("key", nil)
		synctest.Wait()
		require.Empty(t, hub.bases, "nobody begins with them any more")
		require.LessOrEqual(t, len(hub.batches), maxBatches)
		for _, b := range hub.batches {
			require.NotEmpty(t, b.key.new)
		}
		at.stop()
		for _, l := range links {
			<-l.gone
		}
	})
}

// TestWhatAnEncodingRemembersIsBounded: peers may be late in any number of ways.
func TestWhatAnEncodingRemembersIsBounded(t *testing.T) {
	calls := 0
	e := &Encoding{Digest: 1, Whole: []byte("whole"), Diff: func(old *Encoding) []byte {
		calls++
		if old.Digest%2 == 0 {
			return nil
		}
		return fmt.Append(nil, old.Digest)
	}}
	for range 3 {
		for d := range uint64(100) {
			want := "whole"
			if d%2 == 1 {
				want = fmt.Sprint(d)
			}
			require.Equal(t, want, string(e.from(&Encoding{Digest: d})))
		}
	}
	require.Len(t, e.diffs, maxDiffs)
	require.Equal(t, 100+2*(100-maxDiffs), calls)
}

// TestComingAndGoingLeavesNothing: no goroutine, no session.
func TestComingAndGoingLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := newPlace(Limits{})
		before := runtime.NumGoroutine()
		for i := range 1000 {
			l := connect(at.present(), fmt.Sprint(i), Peer{Acknowledges: i%2 == 0}, i%4)
			if i%3 == 0 {
				synctest.Wait()
			}
			l.stop()
			<-l.gone
		}
		synctest.Wait()
		require.Less(t, runtime.NumGoroutine(), before+10) // others come and go
		require.Empty(t, at.present().sessions)
		at.stop()
	})
}

// TestMessagesAreOfAReasonableSize: a state of any size comes in pieces, and with them
// one commit.
func TestMessagesAreOfAReasonableSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := New(cmp.Compare[string], commitOf, Limits{})
		value := string(make([]byte, 1000))
		hub.Update(&around{}, func(tx *diffstore.Tx[string, Item]) {
			for i := range 1000 {
				tx.Set(fmt.Sprint(i), newThing(uint64(i), fmt.Sprint(i), map[string]string{"": value}))
			}
		})
		l := connect(hub, "peer", Peer{}, 100)
		synctest.Wait()
		require.Greater(t, len(l.sent), 1000*1000/chunkSize)
		for n := len(l.sent); n > 0; n-- {
			pieces := <-l.sent
			require.LessOrEqual(t, len(join(pieces)), chunkSize+100)
			require.Equal(t, n == 1, strings.HasSuffix(string(pieces[len(pieces)-1]), "commit 1;"))
		}
		l.stop()
		<-l.gone
	})
}
