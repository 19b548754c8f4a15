// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
)

// A Revision numbers the changes of one store: it grows by one with each key that
// changes, so a transaction may advance it by several. The empty store is at
// revision 0. Revisions of different stores have nothing to do with each other.
type Revision uint64

// ErrCompacted answers a question about changes since a revision whose deletions
// have been forgotten: the asker must start from a whole snapshot.
var ErrCompacted = errors.New("diffstore: revision is compacted")

// minTombstones is how many deletions a store remembers for readers that have not
// accepted them, or for nobody in particular when it has no readers. A store with
// more items than that remembers as many as it has items, so memory stays
// proportional to use.
const minTombstones = 1024

// degree of the trees; 32 keeps a copied path of a write under 2 KiB at 100k items.
const degree = 32

// An entry is immutable once it is in a tree, but for round.
type entry[K, V any] struct {
	key     K
	value   V
	hash    uint64
	rev     Revision
	deleted bool
	round   uint64 // see Fill; guarded by the store's lock
}

type tree[K, V any] = btree.BTreeG[*entry[K, V]]

// A Store is an ordered set of values with a history. Any number of goroutines may
// use one.
type Store[K, V any] struct {
	compare func(a, b K) int
	hash    func(*Hash, V)
	seed    uint64
	empty   *Snapshot[K, V] // the store at revision 0

	mu      sync.Mutex  // serialises writers; readers never take it
	probe   entry[K, V] // what is looked up, and
	digest  Hash        // what is hashed: fields, so that neither is allocated
	items   *tree[K, V]
	log     *tree[K, V] // newest change of each key, by revision
	graves  *tree[K, V] // the deletions in log, by key
	burials *tree[K, V] // the deletions in log, by revision
	rev     Revision
	floor   Revision // deletions up to here are forgotten
	readers map[*Reader[K, V]]struct{}

	published atomic.Pointer[Snapshot[K, V]]
}

// New returns an empty store, ordered by compare, whose values are told apart by
// what hash writes. Both must be pure functions.
func New[K, V any](compare func(a, b K) int, hash func(*Hash, V)) *Store[K, V] {
	byKey := func(a, b *entry[K, V]) bool { return compare(a.key, b.key) < 0 }
	byRev := func(a, b *entry[K, V]) bool { return a.rev < b.rev }
	s := &Store[K, V]{
		compare: compare,
		hash:    hash,
		seed:    rand.Uint64(),
		items:   btree.NewG(degree, byKey),
		log:     btree.NewG(degree, byRev),
		graves:  btree.NewG(degree, byKey),
		burials: btree.NewG(degree, byRev),
		readers: map[*Reader[K, V]]struct{}{},
	}
	s.empty = s.publish()
	return s
}

// Update runs fn and publishes all that it changed at once; it returns the
// snapshot that holds the changes. When fn changes nothing, nobody is woken and
// the snapshot is the present one; a value that fn changes and changes back has
// changed. Updates do not overlap: fn must not call Update of the same store, and
// tx is dead when fn has returned.
func (s *Store[K, V]) Update(fn func(tx *Tx[K, V])) *Snapshot[K, V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&Tx[K, V]{s})
	if old := s.published.Load(); old.rev == s.rev {
		return old
	}
	s.compact()
	return s.publish()
}

// Snapshot returns the present state. It takes constant time and no lock.
func (s *Store[K, V]) Snapshot() *Snapshot[K, V] { return s.published.Load() }

// publish makes the present state the one that readers see, and wakes them.
func (s *Store[K, V]) publish() *Snapshot[K, V] {
	snap := &Snapshot[K, V]{
		compare: s.compare,
		items:   s.items.Clone(),
		log:     s.log.Clone(),
		rev:     s.rev,
		floor:   s.floor,
		newer:   make(chan struct{}),
	}
	if old := s.published.Swap(snap); old != nil {
		old.replaced = time.Now()
		close(old.newer)
	}
	return snap
}

// compact forgets the deletions that every reader has accepted, and the oldest
// ones when there are more than minTombstones allows. A reader is hurt by neither:
// it compares whole snapshots when it must.
func (s *Store[K, V]) compact() {
	if s.graves.Len() == 0 {
		return
	}
	accepted := s.floor
	if len(s.readers) > 0 {
		accepted = s.rev
		for r := range s.readers {
			accepted = min(accepted, r.Acknowledged().rev)
		}
	}
	excess := s.graves.Len() - max(minTombstones, s.items.Len())
	for ; s.burials.Len() > 0; excess-- {
		oldest, _ := s.burials.Min()
		if oldest.rev > accepted && excess <= 0 {
			return
		}
		s.forget(oldest)
		s.floor = oldest.rev
	}
}

// bury remembers that a key is gone, and forget ends that.
func (s *Store[K, V]) bury(grave *entry[K, V]) {
	s.graves.ReplaceOrInsert(grave)
	s.burials.ReplaceOrInsert(grave)
	s.log.ReplaceOrInsert(grave)
}

func (s *Store[K, V]) forget(grave *entry[K, V]) {
	s.graves.Delete(grave)
	s.burials.Delete(grave)
	s.log.Delete(grave)
}

// A Tx changes a store within [Store.Update]. It sees its own writes.
type Tx[K, V any] struct{ s *Store[K, V] }

// Get returns the value of key.
func (tx *Tx[K, V]) Get(key K) (value V, ok bool) {
	if e, ok := tx.s.items.Get(tx.s.at(key)); ok {
		return e.value, true
	}
	return value, false
}

// Set gives key a value, and reports whether that is a change.
func (tx *Tx[K, V]) Set(key K, value V) bool {
	_, changed := tx.set(key, value)
	return changed
}

// Delete removes key, and reports whether it was there.
func (tx *Tx[K, V]) Delete(key K) bool {
	_, existed := tx.delete(key)
	return existed
}

// set returns the entry that key has afterwards.
func (tx *Tx[K, V]) set(key K, value V) (e *entry[K, V], changed bool) {
	s := tx.s
	hash := s.sum(value)
	old, exists := s.items.Get(s.at(key))
	if exists && old.hash == hash {
		return old, false
	}
	e = &entry[K, V]{key: key, value: value, hash: hash}
	if exists {
		e.round = old.round
		s.log.Delete(old)
	} else if grave, ok := s.graves.Get(e); ok {
		s.forget(grave)
	}
	s.rev++
	e.rev = s.rev
	s.items.ReplaceOrInsert(e)
	s.log.ReplaceOrInsert(e)
	return e, true
}

// delete returns the entry that key had.
func (tx *Tx[K, V]) delete(key K) (old *entry[K, V], existed bool) {
	s := tx.s
	old, existed = s.items.Delete(s.at(key))
	if !existed {
		return nil, false
	}
	s.log.Delete(old)
	s.rev++
	s.bury(&entry[K, V]{key: old.key, rev: s.rev, deleted: true})
	return old, true
}

// Ascend calls yield for each key and value from the first key not before from,
// in order, until yield returns false. yield must not write to the transaction.
func (tx *Tx[K, V]) Ascend(from K, yield func(K, V) bool) { ascend(tx.s.items, from, yield) }

// Len returns the number of keys.
func (tx *Tx[K, V]) Len() int { return tx.s.items.Len() }

// at returns an entry to look key up with.
func (s *Store[K, V]) at(key K) *entry[K, V] {
	s.probe.key = key
	return &s.probe
}

func (s *Store[K, V]) sum(v V) uint64 {
	s.digest.digest.ResetWithSeed(s.seed)
	s.hash(&s.digest, v)
	return s.digest.digest.Sum64()
}
