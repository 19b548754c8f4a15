// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"sync"
	"time"
)

const (
	// chunkSize is about how large a message becomes before the next begins.
	chunkSize = 64 << 10
	// maxBatches is how many differences a hub remembers. Streams that keep up all need
	// the same one; each further one is for some that are late.
	maxBatches = 32
	// baseLife is for how long a state is good enough to begin a stream with, which then
	// goes on to the newest: so that a thousand streams that begin together share one.
	baseLife = 2 * time.Second
	// maxBases is how many of these there are; classes are few, unless peers make them up.
	maxBases = 64
)

// A Batch is what differs between two states for streams of a class.
type Batch[K any] struct {
	key batchKey

	once    sync.Once
	chunks  []*Message // all but the last
	tail    []byte     // the last without the end
	last    *Message   // with the end
	empty   bool       // there is nothing but the end
	changed []Changed[K]

	memoOnce sync.Once
	memo     any
}

// A Changed is a key under which a state has something else than an older one; nil is
// nothing.
type Changed[K any] struct {
	Key      K
	Old, New Item
}

type batchKey struct {
	old, new           uint64 // revisions
	oldClass, newClass string
	diffs              bool
}

// Changed are the keys that differ in whatever class; in the batch that a stream begins
// with, it is nil.
func (b *Batch[K]) Changed() []Changed[K] { return b.changed }

// Empty says that streams of the class are told nothing.
func (b *Batch[K]) Empty() bool { return b.empty }

// Memo returns what fn returns, which is called once for a batch.
func (b *Batch[K]) Memo(fn func() any) any {
	b.memoOnce.Do(func() { b.memo = fn() })
	return b.memo
}

// batch returns the difference between two states for a peer that was of oldClass and
// is of newClass.
func (h *Hub[K, X]) batch(old, new *State[K, X], oldClass, newClass string, diffs bool) *Batch[K] {
	key := batchKey{old.Revision, new.Revision, oldClass, newClass, diffs}
	b := h.findBatch(key)
	b.once.Do(func() {
		var c chunker
		add := func(was, is Item) { c.add(change(encoding(was, oldClass), encoding(is, newClass), diffs)) }
		for d := range new.Items.Diff(old.Items) {
			was, _ := old.Items.Get(d.Key)
			b.changed = append(b.changed, Changed[K]{d.Key, was, d.Value})
		}
		if oldClass == newClass {
			for _, d := range b.changed {
				add(d.Old, d.New)
			}
		} else {
			for k, i := range new.Items.All() {
				was, _ := old.Items.Get(k)
				add(was, i)
			}
			for k, i := range old.Items.All() {
				if _, is := new.Items.Get(k); !is {
					add(i, nil)
				}
			}
		}
		b.close(c, h.end(old, new))
	})
	return b
}

// close divides what was collected into messages. end is copied to the last one, so that
// the usual message is one piece, which all streams share.
func (b *Batch[K]) close(c chunker, end []byte) {
	b.empty = len(c.done) == 0 && len(c.open) == 0
	for _, piece := range c.done {
		b.chunks = append(b.chunks, newMessage(piece))
	}
	b.tail, b.last = c.open[:len(c.open):len(c.open)], newMessage(append(c.open, end...))
}

func (h *Hub[K, X]) findBatch(key batchKey) *Batch[K] {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.batches) - 1; i >= 0; i-- {
		if h.batches[i].key == key {
			return h.batches[i]
		}
	}
	b := &Batch[K]{key: key}
	if len(h.batches) == maxBatches {
		copy(h.batches, h.batches[1:])
		h.batches = h.batches[:maxBatches-1]
	}
	h.batches = append(h.batches, b)
	return b
}

func encoding(i Item, class string) *Encoding {
	if i == nil {
		return nil
	}
	return i.For(class)
}

// change is what a peer is told that was told old, nil for nothing, and must now know
// new.
func change(old, new *Encoding, diffs bool) []byte {
	switch {
	case old == new:
		return nil
	case new == nil:
		return old.Gone
	case old == nil:
		return new.Whole
	case old.Digest == new.Digest:
		return nil
	case diffs:
		return new.from(old)
	}
	return new.Whole
}

// A chunker collects pieces into messages.
type chunker struct {
	done [][]byte
	open []byte
}

func (c *chunker) add(piece []byte) {
	if len(c.open) > 0 && len(c.open)+len(piece) > chunkSize {
		c.done, c.open = append(c.done, c.open), nil
	}
	c.open = append(c.open, piece...)
}

// A base is a whole state as streams of a class begin with it.
type base[K, X any] struct {
	state *State[K, X]
	born  time.Time

	once  sync.Once
	root  uint64
	count int

	wholeOnce sync.Once
	batch     Batch[K]
}

// base returns a recent state as a class sees it; with exact, the present one.
func (h *Hub[K, X]) base(class string, exact bool) *base[K, X] {
	h.mu.Lock()
	b, now := h.bases[class], h.state.Load()
	var last *base[K, X]
	if b == nil || b.state != now && (exact || time.Since(b.born) > baseLife) {
		last, b = b, &base[K, X]{state: now, born: time.Now()}
		if len(h.bases) >= maxBases {
			clear(h.bases)
		}
		h.bases[class] = b
	}
	h.mu.Unlock()
	b.sum(class, last)
	return b
}

// sum adds up what there is: from what there was in the last base, when there is one, since
// when many come back while everything changes each asks for another state.
func (b *base[K, X]) sum(class string, last *base[K, X]) {
	b.once.Do(func() {
		add := func(i Item, n int) {
			if e := encoding(i, class); e != nil {
				b.root ^= e.Digest
				b.count += n
			}
		}
		if last == nil {
			for _, i := range b.state.Items.All() {
				add(i, 1)
			}
			return
		}
		last.sum(class, nil)
		b.root, b.count = last.root, last.count
		for d := range b.state.Items.Diff(last.state.Items) {
			was, _ := last.state.Items.Get(d.Key)
			add(was, -1)
			add(d.Value, 1)
		}
	})
}

// whole returns all of the state, without an end.
func (b *base[K, X]) whole(class string) *Batch[K] {
	b.wholeOnce.Do(func() {
		var c chunker
		for _, i := range b.state.Items.All() {
			if e := i.For(class); e != nil {
				c.add(e.Whole)
			}
		}
		b.batch.close(c, nil)
	})
	return &b.batch
}

// forgetBases lets go of states that no stream will begin with.
func (h *Hub[K, X]) forgetBases() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for class, b := range h.bases {
		if time.Since(b.born) > baseLife {
			delete(h.bases, class)
		}
	}
}

// missing returns what a peer lacks that holds the items with the given digests, and
// the digests that it holds in vain.
func (b *base[K, X]) missing(class string, held map[uint64]struct{}) (rest *Batch[K], unwanted []uint64) {
	var c chunker
	said := len(held)
	for _, i := range b.state.Items.All() {
		e := i.For(class)
		if e == nil {
			continue
		}
		if _, ok := held[e.Digest]; ok {
			delete(held, e.Digest)
			continue
		}
		c.add(e.Whole)
	}
	for d := range held {
		unwanted = append(unwanted, d)
	}
	if said > 0 && len(unwanted) == said {
		return b.whole(class), unwanted // nothing fits: this at least is everybody's
	}
	rest = &Batch[K]{}
	rest.close(c, nil)
	return rest, unwanted
}
