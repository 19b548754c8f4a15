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
	// maxAcksPerMessage bounds the acknowledgements in one message. The queue drops older
	// ones: an acknowledgement covers all older revisions of its stream.
	maxAcksPerMessage = 64
	// fullBatch is the number of queued acknowledgements that are sent without delay: half
	// of the 64 Commits that a server sends ahead of acknowledgements by default.
	fullBatch = 32
)

// An AckQueue collects the acknowledgements of a client until they are sent. Its methods
// may be called concurrently.
type AckQueue struct {
	mu    sync.Mutex
	queue []queuedAck   // oldest first
	added chan struct{} // has an element after Add
}

type queuedAck struct {
	*kpng.Ack
	applied time.Time
}

// NewAckQueue returns an empty queue.
func NewAckQueue() *AckQueue { return &AckQueue{added: make(chan struct{}, 1)} }

// Reset drops all queued acknowledgements, because they belong to an earlier stream.
func (q *AckQueue) Reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = nil
}

// Add queues an acknowledgement of an update that was applied or failed just now. The
// queue owns ack from then on.
func (q *AckQueue) Add(ack *kpng.Ack) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.queue) == maxAcksPerMessage {
		q.queue = slices.Delete(q.queue, 0, 1)
	}
	q.queue = append(q.queue, queuedAck{ack, time.Now()})
	select {
	case q.added <- struct{}{}:
	default:
	}
}

// Next waits for acknowledgements and returns all of them in one message, or false when ctx
// ends. It returns a failure or a full batch at once, and successes after at most maxDelay.
func (q *AckQueue) Next(ctx context.Context, maxDelay time.Duration) (*kpng.Ack, bool) {
	var expired <-chan time.Time
	for {
		ack, queued := q.take(maxDelay)
		if ack != nil {
			return ack, true
		}
		if queued && expired == nil {
			timer := time.NewTimer(maxDelay)
			defer timer.Stop()
			expired = timer.C
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-expired:
			maxDelay = 0
		case <-q.added:
		}
	}
}

// take empties the queue into one message. It returns nil if the queue is empty or may wait
// for more acknowledgements; queued reports whether it has any.
func (q *AckQueue) take(maxDelay time.Duration) (ack *kpng.Ack, queued bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	failed := func(a queuedAck) bool { return a.GetError() != "" }
	if len(q.queue) == 0 || maxDelay > 0 && len(q.queue) < fullBatch && !slices.ContainsFunc(q.queue, failed) {
		return nil, len(q.queue) > 0
	}
	now := time.Now()
	for _, a := range q.queue {
		a.AgeNs = uint64(now.Sub(a.applied))
	}
	ack = q.queue[len(q.queue)-1].Ack
	for _, a := range q.queue[:len(q.queue)-1] {
		ack.PreviousAcks = append(ack.PreviousAcks, a.Ack)
	}
	q.queue = nil
	return ack, true
}
