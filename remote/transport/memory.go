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

// A memory keeps so many values for some time. When it is full, the one that was not
// asked for longest makes room. It is not safe for concurrent use.
type memory[V any] struct {
	size  int
	byKey map[tokenKey]*list.Element
	order *list.List // of *remembered[V], the last asked for in front
}

type remembered[V any] struct {
	key   tokenKey
	value V
	until time.Time
}

func newMemory[V any](size int) *memory[V] {
	return &memory[V]{size: size, byKey: map[tokenKey]*list.Element{}, order: list.New()}
}

func (m *memory[V]) get(key tokenKey, now time.Time) (value V, ok bool) {
	e := m.byKey[key]
	if e == nil {
		return value, false
	}
	r := e.Value.(*remembered[V])
	if !now.Before(r.until) {
		m.forget(e)
		return value, false
	}
	m.order.MoveToFront(e)
	return r.value, true
}

func (m *memory[V]) put(key tokenKey, value V, until time.Time) {
	if e := m.byKey[key]; e != nil {
		m.forget(e)
	}
	if m.order.Len() >= m.size {
		m.forget(m.order.Back())
	}
	m.byKey[key] = m.order.PushFront(&remembered[V]{key, value, until})
}

func (m *memory[V]) forget(e *list.Element) {
	delete(m.byKey, m.order.Remove(e).(*remembered[V]).key)
}

// Slots bound what goes on at once, in all and for one address: who floods the server
// waits for itself.
type slots struct {
	all  chan struct{}
	each int

	mu sync.Mutex
	by map[netip.Addr]*addressSlots
}

type addressSlots struct {
	taken chan struct{}
	users int // who have some or wait for one
}

func newSlots(all, each int) *slots {
	return &slots{all: make(chan struct{}, all), each: each, by: map[netip.Addr]*addressSlots{}}
}

// take waits for a slot, which is to be released. An error is that of ctx.
func (s *slots) take(ctx context.Context, addr netip.Addr) (release func(), err error) {
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

func (s *slots) enter(addr netip.Addr) *addressSlots {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := s.by[addr]
	if own == nil {
		own = &addressSlots{taken: make(chan struct{}, s.each)}
		s.by[addr] = own
	}
	own.users++
	return own
}

func (s *slots) leave(addr netip.Addr, own *addressSlots) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(s.by, addr)
	}
}
