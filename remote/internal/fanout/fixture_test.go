// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kpng/diffstore"
)

// The items of the tests are strings with a key, which may differ between classes.
type (
	testHub      = Hub[string, *testExtra]
	testSnapshot = Snapshot[string, *testExtra]
	testBatch    = Batch[string]
	testStream   = stream[string, *testExtra]
)

// testExtra holds the class and the overlay of each peer, by name.
type testExtra struct{ class, overlay map[string]string }

// encodeCommit encodes the end of an update.
func encodeCommit(_, new *testSnapshot) []byte { return fmt.Appendf(nil, "commit %d;", new.Revision) }

// A testItem is an item with an encoding for each class that it is sent to.
type testItem struct {
	sequence  uint64
	encodings map[string]*Encoding     // by class
	delay     map[string]time.Duration // of EncodingFor, by class
}

func (t *testItem) Version() uint64 { return t.sequence }

func (t *testItem) EncodingFor(class string) *Encoding {
	if d := t.delay[class]; d > 0 {
		time.Sleep(d)
	}
	return t.encodings[class]
}

func digest(key, value string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, key+"="+value)
	return h.Sum64()
}

// newItem returns an item with a value for each class; classes with an empty value are not
// sent the item. Classes with the same value share the encoding.
func newItem(sequence uint64, key string, values map[string]string) *testItem {
	t, shared := &testItem{sequence: sequence, encodings: map[string]*Encoding{}}, map[string]*Encoding{}
	for class, value := range values {
		if value == "" {
			continue
		}
		if shared[value] == nil {
			shared[value] = &Encoding{
				Digest: digest(key, value), Value: value, Full: []byte(key + "=" + value + ";"), Removal: []byte(key + "!;"),
				Delta: func(old *Encoding) []byte {
					was, _ := old.Value.(string)
					if len(was)%2 == 0 {
						return nil
					}
					return []byte(key + ":" + was + ">" + value + ";")
				},
			}
		}
		t.encodings[class] = shared[value]
	}
	return t
}

// A fixture runs a hub, which restart replaces by a new one with the same items.
type fixture struct {
	limits       Limits
	onTransition func(s *testStream, from, to streamState)

	mu       sync.Mutex
	hub      *testHub
	items    map[string]*testItem
	extra    *testExtra
	sequence uint64
	stop     func()
}

func newFixture(limits Limits) *fixture { return newObservedFixture(limits, nil) }

func newObservedFixture(limits Limits, onTransition func(s *testStream, from, to streamState)) *fixture {
	f := &fixture{limits: limits, onTransition: onTransition, items: map[string]*testItem{}, extra: &testExtra{}}
	f.start()
	return f
}

// current returns the hub that runs now.
func (f *fixture) current() *testHub {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hub
}

// start runs a hub with all items.
func (f *fixture) start() {
	hub := New(cmp.Compare[string], encodeCommit, f.limits)
	hub.onTransition = f.onTransition
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); hub.Run(ctx) }()
	hub.Update(f.extra, func(tx *diffstore.Tx[string, Item]) {
		for k, i := range f.items {
			tx.Set(k, i)
		}
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hub, f.stop = hub, func() { cancel(); <-ended }
}

func (f *fixture) restart() { f.stop(); f.start() }

// set sets one item, or removes it when values is nil.
func (f *fixture) set(key string, values map[string]string) {
	f.sequence++
	f.current().Update(f.extra, func(tx *diffstore.Tx[string, Item]) {
		if values == nil {
			delete(f.items, key)
			tx.Delete(key)
			return
		}
		f.items[key] = newItem(f.sequence, key, values)
		tx.Set(key, f.items[key])
	})
}

// setExtra sets classes and overlays.
func (f *fixture) setExtra(extra *testExtra) {
	f.extra = extra
	f.current().Update(extra, func(*diffstore.Tx[string, Item]) {})
}

// want returns the content that a peer must have at the newest snapshot.
func (f *fixture) want(name string) string {
	held := map[string]string{}
	for k, i := range f.items {
		if e := i.EncodingFor(f.extra.class[name]); e != nil {
			held[k], _ = e.Value.(string)
		}
	}
	return fmt.Sprint(held, f.extra.overlay[name])
}

// A fakeConn is a connection whose peer is the test.
type fakeConn struct {
	name     string
	overlay  string // that was sent last
	sent     chan [][]byte
	received chan Received
	eof      chan struct{} // closed when the peer sends no more
	ended    chan struct{} // closed when the stream has ended
	err      error         // of Serve; set before ended is closed
	ctx      context.Context
	stop     context.CancelFunc
}

var errEnded = errors.New("the stream has ended")

// newConn returns a connection. unread is how many messages Send accepts that are not read
// from sent.
func newConn(name string, unread int) *fakeConn {
	c := &fakeConn{name: name, sent: make(chan [][]byte, unread), received: make(chan Received), eof: make(chan struct{}), ended: make(chan struct{})}
	c.ctx, c.stop = context.WithCancel(context.Background())
	return c
}

// serve begins a stream; conn is c, or has it embedded.
func (c *fakeConn) serve(hub *testHub, peer Peer, conn Conn[string, *testExtra]) {
	go func() {
		defer close(c.ended)
		defer c.stop()
		c.err = hub.Serve(c.ctx, peer, conn, nil)
	}()
}

// connect begins a stream.
func connect(hub *testHub, name string, peer Peer, unread int) *fakeConn {
	c := newConn(name, unread)
	c.serve(hub, peer, c)
	return c
}

func (c *fakeConn) Context() context.Context { return c.ctx }

func (c *fakeConn) Class(s *testSnapshot) string { return s.Extra.class[c.name] }

func (c *fakeConn) Welcome(sendHeld, fullSync bool) error {
	return c.Send(newMessage(fmt.Appendf(nil, "welcome %v %v;", sendHeld, fullSync)))
}

func (c *fakeConn) Overlay(old, new *testSnapshot, b *testBatch) [][]byte {
	if b.Memo(func() any { return b }) != any(b) {
		return [][]byte{[]byte("the memo is of another batch;")}
	}
	if old != nil && c.overlay == new.Extra.overlay[c.name] {
		return nil
	}
	c.overlay = new.Extra.overlay[c.name]
	return [][]byte{[]byte("overlay " + c.overlay + ";")}
}

func (c *fakeConn) RemovedDigests(digests []uint64) []byte {
	return fmt.Appendf(nil, "removed %v;", digests)
}
func (c *fakeConn) Acknowledged(Ack, time.Time) {}

func (c *fakeConn) Send(m *Message) error {
	select {
	case <-c.ended:
		return errEnded
	case c.sent <- m.Pieces:
		return nil
	}
}

func (c *fakeConn) Receive() (Received, error) {
	select {
	case m := <-c.received:
		return m, nil
	case <-c.eof:
		return Received{}, io.EOF
	case <-c.ended:
		return Received{}, errEnded
	}
}

// deliver sends a message from the peer. It returns false when the stream has ended.
func (c *fakeConn) deliver(m Received) bool {
	select {
	case c.received <- m:
		return true
	case <-c.ended:
		return false
	}
}

// A fakePeer is a correct peer, which may be slow and reconnects after each end.
type fakePeer struct {
	*rand.Rand
	name        string
	hello       Peer          // without what it holds
	delay       time.Duration // maximum per message
	disconnects int           // it disconnects before one of so many messages; 0 means never
	failures    int           // it fails to apply one of so many commits at first; 0 means none

	mu      sync.Mutex
	held    map[string]string
	overlay string
	commits int
	faults  []error
}

func newPeer(name string, hello Peer, seed uint64) *fakePeer {
	return &fakePeer{Rand: rand.New(rand.NewPCG(seed, 0)), name: name, hello: hello, held: map[string]string{}}
}

// content returns what the peer holds, as of its last commit.
func (p *fakePeer) content() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.held, p.overlay)
}

func (p *fakePeer) faultf(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(p.name+": "+format, args...))
}

// run connects to the current hub, again after each end, until ctx is done.
func (p *fakePeer) run(ctx context.Context, f *fixture) {
	for ctx.Err() == nil {
		hello := p.hello
		if p.hello.Resumes {
			hello = p.resumeHello()
		}
		c := connect(f.current(), p.name, hello, 1)
		p.read(ctx, c)
		c.stop()
		<-c.ended
		for _, never := range []error{ErrUnexpectedMessage, ErrTooManyDigests, ErrDigestsTimeout, ErrSendTimeout, errTransition} {
			if errors.Is(c.err, never) {
				p.faultf("the stream ended with %w", c.err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// resumeHello returns the hello with what the peer holds.
func (p *fakePeer) resumeHello() Peer {
	hello := p.hello
	for k, v := range p.held {
		hello.HeldXor ^= digest(k, v)
	}
	hello.HeldCount = len(p.held)
	return hello
}

// read applies the messages of one stream.
func (p *fakePeer) read(ctx context.Context, c *fakeConn) {
	r := newReader(p)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ended:
			return
		case pieces := <-c.sent:
			if p.disconnects > 0 && p.IntN(p.disconnects) == 0 {
				return
			}
			if p.delay > 0 {
				time.Sleep(rand.N(p.delay))
			}
			sendHeld, revision := r.message(pieces)
			if sendHeld && !p.sendHeld(c) {
				return
			}
			if revision > 0 && p.hello.Acknowledges && !p.acknowledge(c, revision) {
				return
			}
		}
	}
}

// A reader applies the messages of one stream to a peer.
type reader struct {
	*fakePeer
	next    map[string]string // what the peer holds after the next commit
	overlay string            // likewise
	last    uint64            // revision of the last commit
}

func newReader(p *fakePeer) *reader {
	return &reader{fakePeer: p, next: maps.Clone(p.held), overlay: p.overlay}
}

// message applies one message. It reports whether the message requests the held digests, and
// returns the revision of its commit, or 0.
func (r *reader) message(pieces [][]byte) (sendHeld bool, revision uint64) {
	for word := range strings.SplitSeq(strings.TrimSuffix(join(pieces), ";"), ";") {
		verb, rest, _ := strings.Cut(word, " ")
		switch verb {
		case "welcome":
			if strings.HasSuffix(rest, "true") {
				clear(r.next)
			}
			sendHeld = strings.HasPrefix(rest, "true")
		case "overlay":
			r.overlay = rest
		case "removed":
			removeDigests(r.next, rest)
		case "commit":
			var err error
			if revision, err = strconv.ParseUint(rest, 10, 64); err != nil || revision <= r.last {
				r.faultf("commit %s after %d", rest, r.last)
			}
			r.last = revision
			r.commit(r.next, r.overlay)
		default:
			r.apply(r.next, word)
		}
	}
	return sendHeld, revision
}

// removeDigests removes the items with the given digests, which are in square brackets.
func removeDigests(items map[string]string, digests string) {
	for d := range strings.FieldsSeq(strings.Trim(digests, "[]")) {
		for k, v := range items {
			if strconv.FormatUint(digest(k, v), 10) == d {
				delete(items, k)
			}
		}
	}
}

func (p *fakePeer) apply(next map[string]string, word string) {
	if key, removed := strings.CutSuffix(word, "!"); removed {
		delete(next, key)
	} else if key, value, full := strings.Cut(word, "="); full {
		next[key] = value
	} else if key, change, delta := strings.Cut(word, ":"); delta {
		from, to, _ := strings.Cut(change, ">")
		if next[key] != from || !p.hello.Deltas {
			p.faultf("received %q while holding %q; supports deltas: %v", word, next[key], p.hello.Deltas)
		}
		next[key] = to
	} else {
		p.faultf("unknown message %q", word)
	}
}

func (p *fakePeer) commit(next map[string]string, overlay string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.overlay = maps.Clone(next), overlay
	p.commits++
}

func (p *fakePeer) acknowledge(c *fakeConn, revision uint64) bool {
	if p.failures > 0 && p.IntN(p.failures) == 0 {
		if !c.deliver(Received{Ack: &Ack{Revision: revision, Error: "failed"}}) {
			return false
		}
	}
	return c.deliver(Received{Ack: &Ack{Revision: revision}})
}

func (p *fakePeer) sendHeld(c *fakeConn) bool {
	for k, v := range p.held {
		if !c.deliver(Received{Held: []uint64{digest(k, v)}}) {
			return false
		}
	}
	return c.deliver(Received{HeldComplete: true})
}

// allCurrent reports whether all peers have the content of the newest snapshot.
func allCurrent(f *fixture, peers []*fakePeer) bool {
	for _, p := range peers {
		if f.want(p.name) != p.content() {
			return false
		}
	}
	return true
}

// join returns the pieces of a message as one text.
func join(pieces [][]byte) string {
	var text strings.Builder
	for _, p := range pieces {
		text.Write(p)
	}
	return text.String()
}

// joinAll returns all messages of a channel as one text.
func joinAll(sent chan [][]byte) (text string) {
	for len(sent) > 0 {
		text += join(<-sent)
	}
	return text
}
