// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fanout

import (
	"runtime"
	"time"
)

// Most streams are at the newest snapshot. A goroutine for each of thousands costs memory,
// and waking it costs more CPU than sending. So these streams are idle and have no
// goroutine to send; a new snapshot queues them, and a few workers send to one after the
// other.

const (
	// maxWorkerTime is how long a worker may need for the streams that it has claimed. A
	// peer may acknowledge what it does not read, and so block a worker in Send. That worker
	// is replaced by a new one, and ends when it has sent; the stream then has a goroutine
	// of its own for Limits.SendTimeout.
	maxWorkerTime = 100 * time.Millisecond
	// claimSize is how many streams a worker claims at once. Afterwards it yields: the
	// goroutines of the connections write what it sent, and are fastest while what they need
	// is in the caches of the processor.
	claimSize = 8
	// streamsPerWorker is how many queued streams justify one more worker.
	streamsPerWorker = 64
)

// A worker is a goroutine that sends to queued streams. The mutex of the hub guards its
// fields.
type worker[K, X any] struct {
	claimed  []*stream[K, X] // streams that it sends to next
	claims   int             // how often it has claimed streams
	ended    bool
	replaced bool // it exceeded maxWorkerTime: it ends after the present stream
}

// An sendResult is what became of a stream that a worker was to send to.
type sendResult[K, X any] struct {
	failed         bool // the stream has ended
	needsGoroutine bool // the stream needs a goroutine of its own
	// unsent is an update that is computed and must be sent after needsGoroutine; without a batch,
	// there is none.
	unsent update[K, X]
}

// startWorkers starts workers, if there are too few for the queue. h.mu must be held.
func (h *Hub[K, X]) startWorkers() {
	for !h.closed && len(h.queue) > 0 && h.workers < min(h.maxWorkers, 1+len(h.queue)/streamsPerWorker) {
		h.workers++
		h.goroutines.Go(h.work)
	}
}

// work is the goroutine of a worker. It ends when the queue is empty.
func (h *Hub[K, X]) work() {
	w := &worker[K, X]{}
	timer := time.AfterFunc(maxWorkerTime, func() { h.replace(w) })
	defer timer.Stop()
	claims := 1
	for s := h.nextStream(w, nil, sendResult[K, X]{}); s != nil; {
		if w.claims != claims { // the time is that of the streams claimed together
			claims = w.claims
			timer.Reset(maxWorkerTime)
			runtime.Gosched()
		}
		out := s.sendByWorker()
		s = h.nextStream(w, s, out)
	}
}

// nextStream releases the stream that w was to send to, if any, and returns the next one, or
// nil when w must end.
func (h *Hub[K, X]) nextStream(w *worker[K, X], sent *stream[K, X], out sendResult[K, X]) *stream[K, X] {
	h.mu.Lock()
	defer h.mu.Unlock()
	if sent != nil {
		h.release(w, sent, out)
	}
	for !w.replaced && !h.closed {
		if len(w.claimed) == 0 {
			h.claim(w)
			w.claims++
		}
		if len(w.claimed) == 0 {
			break
		}
		if s := h.startNext(w); s != nil {
			return s
		}
	}
	if !w.replaced {
		h.workers--
	}
	w.ended = true
	return nil
}

// replace starts another worker in place of one that exceeded maxWorkerTime.
func (h *Hub[K, X]) replace(w *worker[K, X]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.ended || w.replaced {
		return
	}
	h.workers--
	w.replaced = true
	h.unclaim(w)
	h.startWorkers()
}

// sendByWorker sends an update to a queued stream, if that cannot block for long: the class of
// the peer is the same, the update is one message, and the peer has acknowledged enough.
func (s *stream[K, X]) sendByWorker() sendResult[K, X] {
	if s.conn.Class(s.hub.Snapshot()) != s.class || !s.permissions(0).idle {
		return sendResult[K, X]{needsGoroutine: true}
	}
	u := s.nextUpdate()
	if len(u.batch.full) > 0 || u.class != s.class || !s.permissions(u.commitSize()).idle {
		return sendResult[K, X]{needsGoroutine: true, unsent: u}
	}
	if err := s.sendUpdate(u); err != nil {
		s.end(err)
		return sendResult[K, X]{failed: true}
	}
	return sendResult[K, X]{needsGoroutine: !s.permissions(0).idle}
}
