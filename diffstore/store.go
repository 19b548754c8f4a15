// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package diffstore

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
)

// A Revision numbers the changes of one store. Each changed key increments it by one, so
// one transaction may advance it by several. An empty store has revision 0. Revisions of
// different stores are not comparable.
type Revision uint64

// treeDegree keeps the path that a write copies below 2 KiB with 100,000 keys.
const treeDegree = 32

// An entry is the newest change of a key. All fields but round are immutable once the
// entry is in a tree, because snapshots share it.
type entry[K, V any] struct {
	key     K
	value   V
	hash    uint64 // of value
	rev     Revision
	deleted bool   // the entry is a tombstone
	round   uint32 // the Fill round that set the key last; snapshots do not read it
}

type tree[K, V any] = btree.BTreeG[*entry[K, V]]

// A Store is an ordered, versioned set of keys with values. All its methods may be called
// concurrently.
type Store[K, V any] struct {
	compare func(a, b K) int
	hash    func(*Hash, V)
	seed    uint64
	empty   *Snapshot[K, V] // the snapshot at revision 0
	probes  *probes[K, V]

	// mu serialises writers and guards the fields below, up to published.
	mu         sync.Mutex
	probe      entry[K, V] // lookup key, a field to avoid an allocation per lookup
	digest     Hash        // hash state, a field to avoid an allocation per hash
	items      *tree[K, V] // by key
	log        *tree[K, V] // the newest change of each key and the tombstones, by revision
	tombstones tombstones[K, V]
	rev        Revision
	compacted  Revision // tombstones up to this revision have been removed
	readers    map[*Reader[K, V]]struct{}

	published atomic.Pointer[Snapshot[K, V]]
}

// New returns an empty store. compare orders the keys; hash writes the content of a value,
// and two values with the same content are equal. Both must be pure functions.
func New[K, V any](compare func(a, b K) int, hash func(*Hash, V)) *Store[K, V] {
	byKey := func(a, b *entry[K, V]) bool { return compare(a.key, b.key) < 0 }
	byRevision := func(a, b *entry[K, V]) bool { return a.rev < b.rev }
	s := &Store[K, V]{
		compare: compare,
		hash:    hash,
		seed:    rand.Uint64(),
		probes:  &probes[K, V]{},
		items:   btree.NewG(treeDegree, byKey),
		log:     btree.NewG(treeDegree, byRevision),
		tombstones: tombstones[K, V]{
			byKey:      btree.NewG(treeDegree, byKey),
			byRevision: btree.NewG(treeDegree, byRevision),
		},
		readers: map[*Reader[K, V]]struct{}{},
	}
	s.empty = s.publish()
	return s
}

// Update runs fn, publishes all its changes as one snapshot and returns that snapshot. If
// fn changes nothing, Update returns the current snapshot and closes no Newer channel.
// Changing a value and changing it back within fn counts as a change.
//
// Concurrent calls run one after the other. fn must not call Update of the same store, and
// tx must not be used after fn returns.
func (s *Store[K, V]) Update(fn func(tx *Tx[K, V])) *Snapshot[K, V] {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(&Tx[K, V]{s})
	if current := s.published.Load(); current.rev == s.rev {
		return current
	}
	s.compact()
	return s.publish()
}

// Snapshot returns the current snapshot, in constant time and without a lock.
func (s *Store[K, V]) Snapshot() *Snapshot[K, V] { return s.published.Load() }

// publish makes the written state the current snapshot. s.mu must be held.
func (s *Store[K, V]) publish() *Snapshot[K, V] {
	snap := &Snapshot[K, V]{
		compare:   s.compare,
		probes:    s.probes,
		items:     s.items.Clone(),
		log:       s.log.Clone(),
		rev:       s.rev,
		compacted: s.compacted,
		newer:     make(chan struct{}),
	}
	if old := s.published.Swap(snap); old != nil {
		old.replacedAt = time.Now()
		close(old.newer)
	}
	return snap
}

// A Tx changes a store within [Store.Update]. Its reads include its own writes.
type Tx[K, V any] struct{ s *Store[K, V] }

// Get returns the value of key.
func (tx *Tx[K, V]) Get(key K) (value V, ok bool) {
	if e, ok := tx.s.items.Get(tx.s.lookup(key)); ok {
		return e.value, true
	}
	return value, false
}

// Set sets the value of key and reports whether that changed the store.
func (tx *Tx[K, V]) Set(key K, value V) bool {
	_, changed := tx.set(key, value)
	return changed
}

// Delete removes key and reports whether it existed.
func (tx *Tx[K, V]) Delete(key K) bool {
	_, existed := tx.delete(key)
	return existed
}

// Ascend calls yield for each key >= from and its value, in key order, until yield returns
// false. yield must not write to the transaction.
func (tx *Tx[K, V]) Ascend(from K, yield func(K, V) bool) {
	tx.s.probes.ascend(tx.s.items, from, yield)
}

// Len returns the number of keys.
func (tx *Tx[K, V]) Len() int { return tx.s.items.Len() }

// set returns the entry of key after the write.
func (tx *Tx[K, V]) set(key K, value V) (e *entry[K, V], changed bool) {
	s := tx.s
	hash := s.sum(value)
	old, exists := s.items.Get(s.lookup(key))
	if exists && old.hash == hash {
		return old, false
	}
	e = &entry[K, V]{key: key, value: value, hash: hash}
	if exists {
		e.round = old.round
		s.log.Delete(old)
	} else if tombstone, ok := s.tombstones.byKey.Get(e); ok {
		s.tombstones.remove(tombstone)
		s.log.Delete(tombstone)
	}
	s.rev++
	e.rev = s.rev
	s.items.ReplaceOrInsert(e)
	s.log.ReplaceOrInsert(e)
	return e, true
}

// delete returns the removed entry of key.
func (tx *Tx[K, V]) delete(key K) (old *entry[K, V], existed bool) {
	s := tx.s
	old, existed = s.items.Delete(s.lookup(key))
	if !existed {
		return nil, false
	}
	s.log.Delete(old)
	s.rev++
	tombstone := &entry[K, V]{key: old.key, rev: s.rev, deleted: true}
	s.tombstones.add(tombstone)
	s.log.ReplaceOrInsert(tombstone)
	return old, true
}

// lookup returns an entry for finding key in a tree. It is valid until the next call.
func (s *Store[K, V]) lookup(key K) *entry[K, V] {
	s.probe.key = key
	return &s.probe
}

// sum returns the content hash of v.
func (s *Store[K, V]) sum(v V) uint64 {
	s.digest.digest.ResetWithSeed(s.seed)
	s.hash(&s.digest, v)
	return s.digest.digest.Sum64()
}
