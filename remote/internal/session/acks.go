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
	// maxAcksPerMessage is how many acknowledgements are sent in one message at most. Those
	// before are forgotten: the later ones cover them.
	maxAcksPerMessage = 64
	// fullBatch is how many do not wait for more: half of what servers let clients owe.
	fullBatch = 32
)

// AckQueue hand acknowledgements to whoever sends them.
type AckQueue struct {
	mu    sync.Mutex
	queue []queuedAck // the oldest first
	added chan struct{}
}

type queuedAck struct {
	*kpng.Ack
	since time.Time
}

// NewAckQueue returns Acks without any.
func NewAckQueue() *AckQueue { return &AckQueue{added: make(chan struct{}, 1)} }

// Reset forgets what waits: there is a new stream.
func (a *AckQueue) Reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queue = nil
}

// Add hands over an acknowledgement, which belongs to Acks from now on.
func (a *AckQueue) Add(ack *kpng.Ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.queue) == maxAcksPerMessage {
		a.queue = slices.Delete(a.queue, 0, 1)
	}
	a.queue = append(a.queue, queuedAck{ack, time.Now()})
	select {
	case a.added <- struct{}{}:
	default:
	}
}

// Next waits for acknowledgements and returns them all in one, or false when ctx is done.
// When they are few, and all of success, it waits a little for more.
func (a *AckQueue) Next(ctx context.Context, within time.Duration) (*kpng.Ack, bool) {
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
		case <-a.added:
		}
	}
}

// take returns what waits, if it need not wait for more, and whether there is any.
func (a *AckQueue) take(within time.Duration) (ack *kpng.Ack, some bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	failed := func(w queuedAck) bool { return w.GetError() != "" }
	if len(a.queue) == 0 || within > 0 && len(a.queue) < fullBatch && !slices.ContainsFunc(a.queue, failed) {
		return nil, len(a.queue) > 0
	}
	now := time.Now()
	for _, w := range a.queue {
		w.AgeNs = uint64(now.Sub(w.since))
	}
	ack = a.queue[len(a.queue)-1].Ack
	for _, w := range a.queue[:len(a.queue)-1] {
		ack.PreviousAcks = append(ack.PreviousAcks, w.Ack)
	}
	a.queue = nil
	return ack, true
}
