// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"slices"
	"sync"
	"time"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

const (
	// maxTogether is how many acknowledgements are sent in one message at most. Those
	// before are forgotten: the later ones cover them.
	maxTogether = 64
	// manyAcks is how many do not wait for more: half of what servers let clients owe.
	manyAcks = 32
)

// Acks hand acknowledgements to whoever sends them.
type Acks struct {
	mu      sync.Mutex
	waiting []waitingAck // the oldest first
	has     chan struct{}
}

type waitingAck struct {
	*kpng.Ack
	since time.Time
}

// NewAcks returns Acks without any.
func NewAcks() *Acks { return &Acks{has: make(chan struct{}, 1)} }

// Clear forgets what waits: there is a new stream.
func (a *Acks) Clear() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting = nil
}

// Put hands over an acknowledgement, which belongs to Acks from now on.
func (a *Acks) Put(ack *kpng.Ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) == maxTogether {
		a.waiting = slices.Delete(a.waiting, 0, 1)
	}
	a.waiting = append(a.waiting, waitingAck{ack, time.Now()})
	select {
	case a.has <- struct{}{}:
	default:
	}
}

// Next waits for acknowledgements and returns them all in one, or false when ctx is done.
// When they are few, and all of success, it waits a little for more.
func (a *Acks) Next(ctx context.Context, within time.Duration) (*kpng.Ack, bool) {
	var late <-chan time.Time
	for {
		ack, some := a.take(within)
		if ack != nil {
			return ack, true
		}
		if some && late == nil {
			timer := time.NewTimer(within)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-late:
			within = 0
		case <-a.has:
		}
	}
}

// take returns what waits, if it need not wait for more, and whether there is any.
func (a *Acks) take(within time.Duration) (ack *kpng.Ack, some bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	failed := func(w waitingAck) bool { return w.GetError() != "" }
	if len(a.waiting) == 0 || within > 0 && len(a.waiting) < manyAcks && !slices.ContainsFunc(a.waiting, failed) {
		return nil, len(a.waiting) > 0
	}
	now := time.Now()
	for _, w := range a.waiting {
		w.AgeNs = uint64(now.Sub(w.since))
	}
	ack = a.waiting[len(a.waiting)-1].Ack
	for _, w := range a.waiting[:len(a.waiting)-1] {
		ack.PreviousAcks = append(ack.PreviousAcks, w.Ack)
	}
	a.waiting = nil
	return ack, true
}
