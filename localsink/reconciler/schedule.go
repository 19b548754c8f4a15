// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reconciler

import (
	"math/rand/v2"
	"time"
)

const (
	// minBackoff is the first backoff after a failed Sync, and the minimum time before a
	// Sync that the sink requested.
	minBackoff = 100 * time.Millisecond
	// maxEarlyRetryDelay bounds how long a backoff delays changes that arrive during it.
	maxEarlyRetryDelay = time.Second
)

// A schedule determines the time of the next Sync. It belongs to the goroutine of Run.
type schedule struct {
	minInterval, maxBackoff time.Duration

	lastEnd      time.Time     // end of the last Sync
	backoff      time.Duration // zero after a success
	retryAt      time.Time     // end of the backoff
	earlyRetryAt time.Time     // end of the backoff for changes that arrive during it
}

// succeeded records that Sync succeeded.
func (s *schedule) succeeded(end time.Time) {
	s.lastEnd, s.backoff = end, 0
	s.retryAt, s.earlyRetryAt = time.Time{}, time.Time{}
}

// failed records that Sync failed. It reports whether the attempt was due, and extends the
// backoff in this case; an early attempt leaves the backoff as it is.
func (s *schedule) failed(end time.Time) (wasDue bool) {
	s.lastEnd = end
	if wasDue = !end.Before(s.retryAt); wasDue {
		s.backoff = min(max(2*s.backoff, minBackoff), s.maxBackoff)
		s.retryAt = end.Add(s.backoff/2 + rand.N(s.backoff/2+1))
	}
	s.earlyRetryAt = end.Add(min(s.backoff, maxEarlyRetryDelay))
	return wasDue
}

// inBackoff reports whether the last Sync failed.
func (s *schedule) inBackoff() bool { return s.backoff > 0 }

// next returns the earliest time of the next Sync.
func (s *schedule) next(resyncRequested bool) time.Time {
	at := s.lastEnd.Add(s.minInterval)
	if s.inBackoff() && s.earlyRetryAt.After(at) {
		at = s.earlyRetryAt
	}
	if earliest := s.lastEnd.Add(minBackoff); resyncRequested && earliest.After(at) {
		at = earliest
	}
	return at
}
