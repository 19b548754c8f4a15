// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"slices"
	"sync"
)

// maxBatches bounds how many batches a hub caches. All streams that keep up need the same
// batch; each further one serves streams that are late.
const maxBatches = 32

// A Batch is the delta between two snapshots for streams of a class. Many streams share it.
type Batch[K any] struct {
	key batchKey

	once    sync.Once
	full    []*Message // all messages but the last
	tail    []byte     // the last message without the commit
	last    *Message   // the last message with the commit
	empty   bool       // the commit is all there is
	changes []Change[K]

	memoOnce sync.Once
	memo     any
}

// A Change is a key whose item differs between two snapshots. Old or New is nil if the
// snapshot has no item under the key.
type Change[K any] struct {
	Key      K
	Old, New Item
}

// A batchKey identifies a batch.
type batchKey struct {
	old, new           uint64 // revisions
	oldClass, newClass string
	deltas             bool
}

// Changes returns the keys whose items differ, whether or not they differ for the class. It
// is nil in the batch of an initial sync. The caller must not modify the result.
func (b *Batch[K]) Changes() []Change[K] { return b.changes }

// Memo returns the result of compute, which is called once for all streams that share b.
func (b *Batch[K]) Memo(compute func() any) any {
	b.memoOnce.Do(func() { b.memo = compute() })
	return b.memo
}

// batch returns the delta between two snapshots for a peer whose class changes from oldClass
// to newClass.
func (h *Hub[K, X]) batch(old, new *Snapshot[K, X], oldClass, newClass string, deltas bool) *Batch[K] {
	b := h.cachedBatch(batchKey{old.Revision, new.Revision, oldClass, newClass, deltas})
	b.once.Do(func() {
		var pieces splitter
		add := func(was, is Item) {
			pieces.add(change(encoding(was, oldClass), encoding(is, newClass), deltas))
		}
		for d := range new.Items.Diff(old.Items) {
			was, _ := old.Items.Get(d.Key)
			b.changes = append(b.changes, Change[K]{d.Key, was, d.Value})
		}
		if oldClass == newClass {
			for _, d := range b.changes {
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
		b.setMessages(pieces, h.encodeCommit(old, new))
	})
	return b
}

// setMessages makes messages of pieces. It copies the commit to the end of the last one, so
// that the usual batch is one message of one piece.
func (b *Batch[K]) setMessages(pieces splitter, commit []byte) {
	b.empty = len(pieces.full) == 0 && len(pieces.last) == 0
	for _, p := range pieces.full {
		b.full = append(b.full, newMessage(p))
	}
	b.tail = slices.Clip(pieces.last)
	b.last = newMessage(append(pieces.last, commit...))
}

// cachedBatch returns the batch with a key, from the cache or new and not yet computed.
func (h *Hub[K, X]) cachedBatch(key batchKey) *Batch[K] {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, b := range slices.Backward(h.batches) {
		if b.key == key {
			return b
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
