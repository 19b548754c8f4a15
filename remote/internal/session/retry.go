// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package session

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	// minRetry is the first pause.
	minRetry = 100 * time.Millisecond
	// maxUnreachable bounds the pause after a failed connection. Attempts of thousands of
	// clients cost a machine without a listening process less than a full handshake costs a
	// server.
	maxUnreachable = time.Second
	// minStable is the duration after which a synced stream resets the pause. A stream that
	// ends sooner counts as a failure, because its successors may end as soon.
	minStable = 5 * time.Second
)

// A Retry runs streams to several servers, one after the other. It prefers servers in a
// random order, which is constant for its lifetime and spreads the clients evenly.
type Retry struct {
	// Max bounds the pause before the next attempt at the same server, which starts at 100 ms
	// and doubles.
	Max time.Duration

	servers []retryServer // in order of preference
	move    *retryServer  // the next server, if a stream ended to move there
}

// A retryServer is the schedule of one server.
type retryServer struct {
	index     int           // in the list of the client
	attempts  int           // since the last synced stream of the client
	pause     time.Duration // before the next attempt, if this one fails
	notBefore time.Time
}

// An Attempt is the outcome of a stream.
type Attempt struct {
	// Synced reports whether the stream had a Commit and no invalid message.
	Synced bool
	// Unreachable reports whether there was no connection, so that the attempt cost the
	// server nothing.
	Unreachable bool
	// RetryAfter is the minimum pause that the server demands.
	RetryAfter time.Duration
	// Move reports whether the stream ended because To, the index of a server, is preferred.
	Move bool
	To   int
}

// NewRetry returns the schedule of the given number of servers.
func NewRetry(servers int, maxPause time.Duration) *Retry {
	r := &Retry{Max: maxPause}
	for _, i := range rand.Perm(servers) {
		r.servers = append(r.servers, retryServer{index: i, pause: minRetry})
	}
	return r
}

// Preferred returns the indices of the servers that are preferred to a server, the best one
// first.
func (r *Retry) Preferred(server int) (better []int) {
	for _, s := range r.servers {
		if s.index == server {
			break
		}
		better = append(better, s.index)
	}
	return better
}

// Run calls watch with the index of a server until ctx ends. Of the servers that are not
// paused it chooses one with the fewest attempts since the last synced stream, and of these
// the preferred one. Each server has its own pause, with jitter. After a synced stream all
// servers are paused shortly, because thousands of clients may have lost the same server.
func (r *Retry) Run(ctx context.Context, watch func(server int) Attempt) {
	for ctx.Err() == nil {
		s := r.next(ctx)
		if s == nil {
			return
		}
		start := time.Now()
		s.attempts++
		outcome := watch(s.index)
		r.schedule(s, outcome, time.Since(start) >= minStable)
	}
}

// next waits for a server that is not paused. It returns nil when ctx ends.
func (r *Retry) next(ctx context.Context) *retryServer {
	if s := r.move; s != nil {
		r.move = nil
		return s
	}
	for {
		var best *retryServer
		now, first := time.Now(), &r.servers[0]
		for i := range r.servers {
			s := &r.servers[i]
			if !now.Before(s.notBefore) && (best == nil || s.attempts < best.attempts) {
				best = s
			}
			if s.notBefore.Before(first.notBefore) {
				first = s
			}
		}
		if best != nil {
			return best
		}
		timer := time.NewTimer(first.notBefore.Sub(now))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// schedule sets the earliest time of the next attempt at s, whose stream has ended.
func (r *Retry) schedule(s *retryServer, outcome Attempt, stable bool) {
	if outcome.Move {
		for i := range r.servers {
			if r.servers[i].index == outcome.To {
				r.move = &r.servers[i]
			}
		}
		return
	}
	if outcome.Synced && stable {
		s.pause = minRetry
	}
	limit := r.Max
	if outcome.Unreachable {
		limit = min(limit, maxUnreachable)
	}
	pause := min(s.pause, limit)
	next := time.Now().Add(jitter(pause))
	s.pause = min(2*pause, limit)
	if outcome.RetryAfter > 0 { // the server sends the same time to all its clients
		s.notBefore = time.Now().Add(outcome.RetryAfter + rand.N(outcome.RetryAfter/2+1))
	}
	if s.notBefore.Before(next) {
		s.notBefore = next
	}
	if outcome.Synced {
		for i := range r.servers {
			r.servers[i].attempts = 0
			if others := time.Now().Add(jitter(minRetry)); r.servers[i].notBefore.Before(others) {
				r.servers[i].notBefore = others
			}
		}
	}
}

func jitter(pause time.Duration) time.Duration { return pause/2 + rand.N(pause/2+1) }
