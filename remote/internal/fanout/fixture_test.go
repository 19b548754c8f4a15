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
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"sigs.k8s.io/kpng/diffstore"
)

// What the tests tell: strings under names, of which classes see different ones.
type (
	testHub   = Hub[string, *around]
	testState = State[string, *around]
	testBatch = Batch[string]
)

// commitOf ends an update.
func commitOf(_, new *testState) []byte { return fmt.Appendf(nil, "commit %d;", new.Revision) }

// around is what belongs to a state beside the items: the class of each peer, and what
// it alone is told.
type around struct{ class, own map[string]string }

// A thing is an item; classes that it does not name are told nothing of it.
type thing struct {
	sequence uint64
	told     map[string]*Encoding     // by class
	slow     map[string]time.Duration // how long that takes to find
}

func (t *thing) Sequence() uint64 { return t.sequence }

func (t *thing) For(class string) *Encoding {
	if d := t.slow[class]; d > 0 {
		time.Sleep(d)
	}
	return t.told[class]
}

func digest(key, value string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, key+"="+value)
	return h.Sum64()
}

// newThing returns an item with a value for each class, empty for nothing. Classes that
// see the same share it.
func newThing(sequence uint64, key string, values map[string]string) *thing {
	t, shared := &thing{sequence: sequence, told: map[string]*Encoding{}}, map[string]*Encoding{}
	for class, value := range values {
		if value == "" {
			continue
		}
		if shared[value] == nil {
			shared[value] = &Encoding{
				Digest: digest(key, value), Value: value, Whole: []byte(key + "=" + value + ";"), Gone: []byte(key + "!;"),
				Diff: func(old *Encoding) []byte {
					was, _ := old.Value.(string)
					if len(was)%2 == 0 {
						return nil
					}
					return []byte(key + ":" + was + ">" + value + ";")
				},
			}
		}
		t.told[class] = shared[value]
	}
	return t
}

// A place is where a hub is, and after it another.
type place struct {
	limits Limits

	mu     sync.Mutex
	hub    *testHub
	things map[string]*thing
	around *around
	next   uint64
	stop   func()
}

func newPlace(limits Limits) *place {
	p := &place{limits: limits, things: map[string]*thing{}, around: &around{}}
	p.start()
	return p
}

func (p *place) present() *testHub {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hub
}

// start runs a hub that holds what there is.
func (p *place) start() {
	hub := New(cmp.Compare[string], commitOf, p.limits)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); hub.Run(ctx) }()
	hub.Update(p.around, func(tx *diffstore.Tx[string, Item]) {
		for k, t := range p.things {
			tx.Set(k, t)
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hub, p.stop = hub, func() { cancel(); <-ended }
}

func (p *place) restart() { p.stop(); p.start() }

// set changes one item, or removes it when values is nil.
func (p *place) set(key string, values map[string]string) {
	p.next++
	p.present().Update(p.around, func(tx *diffstore.Tx[string, Item]) {
		if values == nil {
			delete(p.things, key)
			tx.Delete(key)
			return
		}
		p.things[key] = newThing(p.next, key, values)
		tx.Set(key, p.things[key])
	})
}

// surround changes what belongs to the state beside the items.
func (p *place) surround(a *around) {
	p.around = a
	p.present().Update(a, func(*diffstore.Tx[string, Item]) {})
}

// wanted is what a peer must hold in the end.
func (p *place) wanted(name string) string {
	held := map[string]string{}
	for k, t := range p.things {
		if e := t.For(p.around.class[name]); e != nil {
			held[k], _ = e.Value.(string)
		}
	}
	return fmt.Sprint(held, p.around.own[name])
}

// A link is a stream to a peer that a test plays.
type link struct {
	name string
	told string // what it alone was told last
	sent chan [][]byte
	said chan Heard
	eof  chan struct{} // closed when the peer has no more to say
	gone chan struct{} // closed when the stream has ended
	err  error         // with which Serve has ended, after gone
	ctx  context.Context
	stop context.CancelFunc
}

// errGone is what calls on a stream return that has ended.
var errGone = errors.New("the stream has ended")

// connect begins a stream; window is how many messages it takes that nobody reads.
func connect(hub *testHub, name string, peer Peer, window int) *link {
	l := &link{name: name, sent: make(chan [][]byte, window), said: make(chan Heard), eof: make(chan struct{}), gone: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	l.ctx, l.stop = ctx, cancel
	go func() {
		defer close(l.gone)
		defer cancel()
		l.err = hub.Serve(ctx, peer, l, nil)
	}()
	return l
}

func (l *link) Context() context.Context { return l.ctx }

func (l *link) Class(s *testState) string { return s.Extra.class[l.name] }

func (l *link) Welcome(sendHeld, startOver bool) error {
	return l.Send(newMessage(fmt.Appendf(nil, "welcome %v %v;", sendHeld, startOver)))
}

func (l *link) Own(old, new *testState, b *testBatch) [][]byte {
	if b.Memo(func() any { return b }) != any(b) {
		return [][]byte{[]byte("the memo is not the batch's own;")}
	}
	if old != nil && l.told == new.Extra.own[l.name] {
		return nil
	}
	l.told = new.Extra.own[l.name]
	return [][]byte{[]byte("own " + l.told + ";")}
}

func (l *link) Unwanted(digests []uint64) []byte { return fmt.Appendf(nil, "unwanted %v;", digests) }
func (l *link) Acknowledged(Ack, time.Time)      {}

func (l *link) Send(m *Message) error {
	select {
	case <-l.gone:
		return errGone
	case l.sent <- m.Pieces:
		return nil
	}
}

func (l *link) Receive() (Heard, error) {
	select {
	case m := <-l.said:
		return m, nil
	case <-l.eof:
		return Heard{}, io.EOF
	case <-l.gone:
		return Heard{}, errGone
	}
}

// say returns false when the stream has ended.
func (l *link) say(m Heard) bool {
	select {
	case l.said <- m:
		return true
	case <-l.gone:
		return false
	}
}

// A player is an honest peer: slow perhaps, and it comes back however often it is lost.
type player struct {
	*rand.Rand
	name    string
	can     Peer
	slow    time.Duration // how long it takes for a message at most
	leaves  int           // it leaves before one of as many messages; 0 is never
	refuses int           // it cannot apply one of as many commits at first; 0 is all

	mu      sync.Mutex
	held    map[string]string
	own     string
	commits int
	faults  []error
}

func newPlayer(name string, can Peer, seed uint64) *player {
	return &player{Rand: rand.New(rand.NewPCG(seed, 0)), name: name, can: can, held: map[string]string{}}
}

// holds is what the peer holds; it takes effect with commits only.
func (p *player) holds() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprint(p.held, p.own)
}

func (p *player) fault(format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf(p.name+": "+format, args...))
}

// live follows the hub that is present, until ctx is done.
func (p *player) live(ctx context.Context, at *place) {
	for ctx.Err() == nil {
		hello := p.can
		if p.can.Resumes {
			for k, v := range p.held {
				hello.HeldRoot ^= digest(k, v)
			}
			hello.HeldCount = len(p.held)
		}
		l := connect(at.present(), p.name, hello, 1)
		p.follow(ctx, l)
		l.stop()
		<-l.gone
		for _, never := range []error{ErrUnexpected, ErrHeldTooMuch, ErrNotSaid, ErrNotRead} {
			if errors.Is(l.err, never) {
				p.fault("the stream ended with %w", l.err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// follow takes in what one stream says.
func (p *player) follow(ctx context.Context, l *link) {
	next, own, last := map[string]string{}, p.own, uint64(0)
	for k, v := range p.held {
		next[k] = v
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.gone:
			return
		case pieces := <-l.sent:
			if p.leaves > 0 && p.IntN(p.leaves) == 0 {
				return
			}
			if p.slow > 0 {
				time.Sleep(rand.N(p.slow))
			}
			var text strings.Builder
			for _, piece := range pieces {
				text.Write(piece)
			}
			for word := range strings.SplitSeq(strings.TrimSuffix(text.String(), ";"), ";") {
				verb, rest, _ := strings.Cut(word, " ")
				switch verb {
				case "welcome":
					if strings.HasSuffix(rest, "true") {
						clear(next)
					}
					if strings.HasPrefix(rest, "true") && !p.sayHeld(l) {
						return
					}
				case "own":
					own = rest
				case "unwanted":
					for d := range strings.FieldsSeq(strings.Trim(rest, "[]")) {
						for k, v := range next {
							if strconv.FormatUint(digest(k, v), 10) == d {
								delete(next, k)
							}
						}
					}
				case "commit":
					revision, err := strconv.ParseUint(rest, 10, 64)
					if err != nil || revision <= last {
						p.fault("commit %s after %d", rest, last)
					}
					last = revision
					p.commit(next, own)
					if p.can.Acknowledges && !p.acknowledge(l, revision) {
						return
					}
				default:
					p.apply(next, word)
				}
			}
		}
	}
}

func (p *player) apply(next map[string]string, word string) {
	if key, gone := strings.CutSuffix(word, "!"); gone {
		delete(next, key)
	} else if key, value, whole := strings.Cut(word, "="); whole {
		next[key] = value
	} else if key, way, diff := strings.Cut(word, ":"); diff {
		from, to, _ := strings.Cut(way, ">")
		if next[key] != from || !p.can.Diffs {
			p.fault("%q is told to one that has %q, differences: %v", word, next[key], p.can.Diffs)
		}
		next[key] = to
	} else {
		p.fault("what is %q?", word)
	}
}

func (p *player) commit(next map[string]string, own string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held, p.own = map[string]string{}, own
	for k, v := range next {
		p.held[k] = v
	}
	p.commits++
}

func (p *player) acknowledge(l *link, revision uint64) bool {
	if p.refuses > 0 && p.IntN(p.refuses) == 0 {
		if !l.say(Heard{Ack: &Ack{Revision: revision, Error: "not now"}}) {
			return false
		}
	}
	return l.say(Heard{Ack: &Ack{Revision: revision}})
}

func (p *player) sayHeld(l *link) bool {
	for k, v := range p.held {
		if !l.say(Heard{Held: []uint64{digest(k, v)}}) {
			return false
		}
	}
	return l.say(Heard{Last: true})
}
