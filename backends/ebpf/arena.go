// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"errors"
	"time"
)

// errFull means that a map has no room. The state is then loaded into larger maps.
var errFull = errors.New("map is full")

// reuseDelay is after which time freed elements of an array may be overwritten. A program that
// has read an index before the change ends long before that.
const reuseDelay = time.Second

// An arena allocates ranges of elements of an array. Freed ranges are reused by requests of the
// same size; when the array is full, the caller copies what is in use to a new one.
type arena struct {
	size   uint32
	next   uint32 // elements from here on were never used
	inUse  uint32
	free   map[uint32][]uint32 // starts by length
	queue  []freedRange        // not reusable yet, oldest first
	now    func() time.Time
	queued uint32 // elements in queue
}

type freedRange struct {
	at            time.Time
	start, length uint32
}

// newArena returns an arena without element 0, which means none.
func newArena(size uint32, now func() time.Time) *arena {
	return &arena{size: size, next: 1, free: map[uint32][]uint32{}, now: now}
}

// alloc returns the start of a range. A range of length 0 starts at 0.
func (a *arena) alloc(length uint32) (uint32, error) {
	if length == 0 {
		return 0, nil
	}
	a.expire()
	if starts := a.free[length]; len(starts) > 0 {
		a.free[length] = starts[:len(starts)-1]
		a.inUse += length
		return starts[len(starts)-1], nil
	}
	if length > a.size-a.next {
		return 0, errFull
	}
	start := a.next
	a.next += length
	a.inUse += length
	return start, nil
}

// release frees a range that programs may still read.
func (a *arena) release(start, length uint32) {
	if length == 0 {
		return
	}
	a.inUse -= length
	a.queued += length
	a.queue = append(a.queue, freedRange{a.now(), start, length})
}

func (a *arena) expire() {
	if len(a.queue) == 0 {
		return
	}
	limit, n := a.now().Add(-reuseDelay), 0
	for n < len(a.queue) && !a.queue[n].at.After(limit) {
		r := a.queue[n]
		a.free[r.length] = append(a.free[r.length], r.start)
		a.queued -= r.length
		n++
	}
	a.queue = a.queue[n:]
}
