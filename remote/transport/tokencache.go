// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"container/list"
	"context"
	"net/netip"
	"sync"
	"time"
)

// A cache holds up to size values, each until it expires. When it is full, the least
// recently used value is removed. Calls must not overlap.
type cache[V any] struct {
	size    int
	byKey   map[tokenKey]*list.Element
	recency *list.List // of *cacheEntry[V], the most recently used in front
}

type cacheEntry[V any] struct {
	key   tokenKey
	value V
	until time.Time
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{size: size, byKey: map[tokenKey]*list.Element{}, recency: list.New()}
}

func (m *cache[V]) get(key tokenKey, now time.Time) (value V, ok bool) {
	e := m.byKey[key]
	if e == nil {
		return value, false
	}
	r := e.Value.(*cacheEntry[V]) //nolint:forcetypeassert // put adds no other type
	if !now.Before(r.until) {
		m.remove(e)
		return value, false
	}
	m.recency.MoveToFront(e)
	return r.value, true
}

func (m *cache[V]) put(key tokenKey, value V, until time.Time) {
	if e := m.byKey[key]; e != nil {
		m.remove(e)
	}
	if m.recency.Len() >= m.size {
		m.remove(m.recency.Back())
	}
	m.byKey[key] = m.recency.PushFront(&cacheEntry[V]{key, value, until})
}

func (m *cache[V]) remove(e *list.Element) {
	r := m.recency.Remove(e).(*cacheEntry[V]) //nolint:forcetypeassert // put adds no other type
	delete(m.byKey, r.key)
}

// reviewSlots limit concurrent token reviews, in total and per address, so that an address
// that floods the server delays only itself.
type reviewSlots struct {
	all        chan struct{}
	perAddress int

	mu        sync.Mutex
	byAddress map[netip.Addr]*addressSlots
}

type addressSlots struct {
	taken chan struct{}
	users int // holders and waiters; guarded by reviewSlots.mu
}

func newReviewSlots(all, each int) *reviewSlots {
	return &reviewSlots{all: make(chan struct{}, all), perAddress: each, byAddress: map[netip.Addr]*addressSlots{}}
}

// take waits for a slot. The caller releases it. The error is that of ctx.
func (s *reviewSlots) take(ctx context.Context, addr netip.Addr) (release func(), err error) {
	own := s.enter(addr)
	select {
	case own.taken <- struct{}{}:
	case <-ctx.Done():
		s.leave(addr, own)
		return nil, ctx.Err()
	}
	select {
	case s.all <- struct{}{}:
	case <-ctx.Done():
		<-own.taken
		s.leave(addr, own)
		return nil, ctx.Err()
	}
	return func() { <-s.all; <-own.taken; s.leave(addr, own) }, nil
}

func (s *reviewSlots) enter(addr netip.Addr) *addressSlots {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.byAddress[addr]
	if own == nil {
		own = &addressSlots{taken: make(chan struct{}, s.perAddress)}
		s.byAddress[addr] = own
	}
	own.users++
	return own
}

func (s *reviewSlots) leave(addr netip.Addr, own *addressSlots) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(s.byAddress, addr)
	}
}
