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

// readAll reads all messages until the stream ends.
func readAll(c *fakeConn) {
	for {
		select {
		case <-c.sent:
		case <-c.ended:
			return
		}
	}
}

// misbehaviour is a peer that exceeds a limit or violates the protocol.
type misbehaviour struct {
	name   string
	hello  Peer
	act    func(c *fakeConn)
	want   error
	within time.Duration // until the stream ends; zero means at once
}

func misbehaviours(limits Limits) []misbehaviour {
	resumes := Peer{Resumes: true, HeldXor: 1, HeldCount: 10}
	return []misbehaviour{
		{"reads nothing", Peer{}, func(*fakeConn) {}, ErrSendTimeout, limits.SendTimeout},
		{"reads only the welcome", Peer{}, func(c *fakeConn) { <-c.sent }, ErrSendTimeout, limits.SendTimeout},
		{"acknowledges nothing", Peer{Acknowledges: true}, readAll, ErrAckTimeout, limits.AckTimeout},
		{"acknowledges only revision 0", Peer{Acknowledges: true}, func(c *fakeConn) {
			go readAll(c)
			for c.deliver(Received{Ack: &Ack{}}) {
				time.Sleep(time.Second)
			}
		}, ErrAckTimeout, limits.AckTimeout},
		{"sends no digests", resumes, readAll, ErrDigestsTimeout, limits.HelloTimeout},
		{"never completes the digests", resumes, func(c *fakeConn) {
			<-c.sent // the welcome requests the digests
			go readAll(c)
			for c.deliver(Received{}) {
				time.Sleep(time.Second)
			}
		}, ErrDigestsTimeout, limits.HelloTimeout},
		{"closes its side instead of sending digests", resumes, func(c *fakeConn) { close(c.eof); readAll(c) }, ErrDigestsTimeout, limits.HelloTimeout},
		{"sends more digests than announced", resumes, func(c *fakeConn) {
			<-c.sent // the welcome requests the digests
			go readAll(c)
			for range 11 {
				c.deliver(Received{Held: []uint64{7}})
			}
		}, ErrTooManyDigests, 0},
		{"announces too many held items", Peer{Resumes: true, HeldCount: 21}, func(*fakeConn) {}, ErrTooManyDigests, 0},
		{"sends the digests twice", resumes, func(c *fakeConn) {
			<-c.sent // the welcome requests the digests
			go readAll(c)
			for c.deliver(Received{Held: []uint64{1, 2}, HeldComplete: true}) {
			}
		}, ErrUnexpectedMessage, 0},
		{"sends digests without request", Peer{}, func(c *fakeConn) { go readAll(c); c.deliver(Received{Held: []uint64{1}}) }, ErrUnexpectedMessage, 0},
		{"sends digests before it reads", Peer{Acknowledges: true}, func(c *fakeConn) {
			c.deliver(Received{HeldComplete: true})
			readAll(c)
		}, ErrUnexpectedMessage, 0},
		{"acknowledges a future revision", Peer{Acknowledges: true}, func(c *fakeConn) { go readAll(c); c.deliver(Received{Ack: &Ack{Revision: 1 << 60}}) }, ErrUnexpectedMessage, 0},
		{"acknowledges without the capability", Peer{}, func(c *fakeConn) { go readAll(c); c.deliver(Received{Ack: &Ack{Revision: 1}}) }, ErrUnexpectedMessage, 0},
		{"acknowledges before the welcome is read", Peer{Acknowledges: true}, func(c *fakeConn) { c.deliver(Received{Ack: &Ack{Revision: 1}}) }, ErrUnexpectedMessage, 0},
		{"leaves", Peer{Acknowledges: true}, func(c *fakeConn) { go readAll(c); close(c.eof) }, io.EOF, 0},
	}
}

// Each misbehaviour ends the stream in time and with its own error, while a correct peer
// receives everything at once. synctest fails if a goroutine is left.
func TestMisbehavingPeersAreDisconnected(t *testing.T) {
	t.Parallel()
	limits := Limits{AckTimeout: 40 * time.Second, SendTimeout: 20 * time.Second, HelloTimeout: 10 * time.Second, HeldItems: 20}
	for _, m := range misbehaviours(limits) {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(limits)
				f.set("key", map[string]string{"": "0"})
				ctx, cancel := context.WithCancel(context.Background())
				correct, stopped := newPeer("correct", Peer{Deltas: true, Acknowledges: true}, 1), make(chan struct{})
				go func() { defer close(stopped); correct.run(ctx, f) }()
				start := time.Now()
				c := connect(f.current(), "misbehaving", m.hello, 0)
				go m.act(c)
				ended := func() bool {
					synctest.Wait()
					select {
					case <-c.ended:
						return true
					default:
						return false
					}
				}
				for i := 0; !ended(); i++ {
					f.set("key", map[string]string{"": fmt.Sprint(i)})
					synctest.Wait()
					require.Equal(t, f.want("correct"), correct.content(), "the correct peer does not wait for others")
					time.Sleep(time.Second)
					require.Less(t, time.Since(start), 2*time.Minute, "the stream has not ended")
				}
				require.ErrorIs(t, c.err, m.want)
				duration := time.Since(start)
				require.GreaterOrEqual(t, duration, m.within)
				require.LessOrEqual(t, duration, m.within+m.within/2+3*time.Second)
				cancel()
				<-stopped
				f.stop()
				require.Empty(t, f.current().streams)
			})
		})
	}
}

// A peer without acknowledgements may close its side and still receive.
func TestPeerThatOnlyReadsStaysConnected(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		c := connect(f.current(), "reader", Peer{}, 10)
		close(c.eof)
		time.Sleep(time.Hour)
		f.set("key", map[string]string{"": "1"})
		synctest.Wait()
		require.Len(t, c.sent, 3)
		f.stop()
		<-c.ended
		require.ErrorIs(t, c.err, context.Canceled)
	})
}

// Neither peers nor changes can let the caches of a hub grow without bound.
func TestHubCachesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		f.set("key", map[string]string{"": "0"})
		// A thousand peers of a thousand classes, each of which stops at another snapshot.
		var conns []*fakeConn
		extra := &testExtra{class: map[string]string{}, overlay: map[string]string{}}
		for i := range 1000 {
			extra.class[fmt.Sprint(i)] = fmt.Sprint("class-", i)
		}
		f.setExtra(extra)
		for i := range 1000 {
			conns = append(conns, connect(f.current(), fmt.Sprint(i), Peer{Deltas: true}, 2))
			f.set("key", map[string]string{"": fmt.Sprint(i), fmt.Sprint("class-", i): "own"})
			if i%10 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		hub := f.current()
		require.LessOrEqual(t, len(hub.batches), maxBatches)
		require.LessOrEqual(t, len(hub.initials), maxInitials)
		for _, c := range conns {
			for range 3 {
				select {
				case <-c.sent:
				default:
				}
			}
		}
		time.Sleep(2 * initialLife)
		f.set("key", nil)
		synctest.Wait()
		require.Empty(t, hub.initials, "no stream begins with them any more")
		require.LessOrEqual(t, len(hub.batches), maxBatches)
		for _, b := range hub.batches {
			require.NotEmpty(t, b.key.new)
		}
		f.stop()
		for _, c := range conns {
			<-c.ended
		}
	})
}

func TestEncodingCachesBoundedDeltas(t *testing.T) {
	t.Parallel()
	calls := 0
	e := &Encoding{Digest: 1, Full: []byte("full"), Delta: func(old *Encoding) []byte {
		calls++
		if old.Digest%2 == 0 {
			return nil
		}
		return fmt.Append(nil, old.Digest)
	}}
	for range 3 {
		for d := range uint64(100) {
			want := "full"
			if d%2 == 1 {
				want = fmt.Sprint(d)
			}
			require.Equal(t, want, string(e.deltaFrom(&Encoding{Digest: d})))
		}
	}
	require.Len(t, e.deltas, maxDeltas)
	require.Equal(t, 100+2*(100-maxDeltas), calls)
}

// This test is not parallel: it counts all goroutines of the process.
func TestEndedStreamsLeaveNoGoroutines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(Limits{})
		before := runtime.NumGoroutine()
		for i := range 1000 {
			c := connect(f.current(), fmt.Sprint(i), Peer{Acknowledges: i%2 == 0}, i%4)
			if i%3 == 0 {
				synctest.Wait()
			}
			c.stop()
			<-c.ended
		}
		synctest.Wait()
		require.Less(t, runtime.NumGoroutine(), before+10) // other tests start and end some
		require.Empty(t, f.current().streams)
		f.stop()
	})
}

// A large initial sync is split into messages, of which only the last has a commit.
func TestMessageSizeIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hub := New(cmp.Compare[string], encodeCommit, Limits{})
		value := string(make([]byte, 1000))
		hub.Update(&testExtra{}, func(tx *diffstore.Tx[string, Item]) {
			for i := range 1000 {
				tx.Set(fmt.Sprint(i), newItem(uint64(i), fmt.Sprint(i), map[string]string{"": value}))
			}
		})
		c := connect(hub, "peer", Peer{}, 100)
		synctest.Wait()
		require.Greater(t, len(c.sent), 1000*1000/messageSize)
		for n := len(c.sent); n > 0; n-- {
			pieces := <-c.sent
			require.LessOrEqual(t, len(join(pieces)), messageSize+100)
			require.Equal(t, n == 1, strings.HasSuffix(string(pieces[len(pieces)-1]), "commit 1;"))
		}
		c.stop()
		<-c.ended
	})
}
