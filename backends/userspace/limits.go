// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import "context"

// A slots limits connections: each sends to the channel and receives from it at its end. nil
// means no limit.
type slots chan struct{}

func newSlots(limit int) slots {
	if limit == 0 {
		return nil
	}
	return make(slots, limit)
}

// tryAcquire takes a slot if one is free.
func (s slots) tryAcquire() bool {
	if s == nil {
		return true
	}
	select {
	case s <- struct{}{}:
		return true
	default:
		return false
	}
}

// acquire waits for a slot until ctx is done.
func (s slots) acquire(ctx context.Context) bool {
	if s == nil {
		return true
	}
	select {
	case s <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s slots) release() {
	if s != nil {
		<-s
	}
}

// acquire takes a slot of the Service and one of the backend. At a limit it returns false if
// wait is false, and otherwise waits until ctx is done.
func (b *Backend) acquire(ctx context.Context, s *service, wait bool) bool {
	if s.slots.tryAcquire() {
		if b.slots.tryAcquire() {
			return true
		}
		s.slots.release()
	}
	b.atLimit.Add(1)
	if !wait {
		return false
	}
	if !s.slots.acquire(ctx) {
		return false
	}
	if !b.slots.acquire(ctx) {
		s.slots.release()
		return false
	}
	return true
}

// release is the end of what acquire began.
func (b *Backend) release(s *service) {
	b.slots.release()
	s.slots.release()
}
