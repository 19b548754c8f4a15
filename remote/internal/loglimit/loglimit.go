// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package loglimit limits the log lines that peers can cause. It is independent of loggers.
package loglimit

import (
	"sync"
	"time"
)

// A Limiter decides which events to log: each key once in a period, and at most a maximum of
// events in it. Create it with [New].
type Limiter struct {
	period  time.Duration
	maximum int

	mu         sync.Mutex
	start      time.Time // of the period
	logged     map[any]struct{}
	suppressed int // since the last event that was logged
}

// New returns a limiter of maximum events in a period.
func New(period time.Duration, maximum int) *Limiter {
	return &Limiter{period: period, maximum: maximum}
}

// Allow reports whether to log an event, and the number of events that were suppressed since
// the last one that was logged. key must be comparable, and must not contain what a peer can
// choose freely, unless suppression of other peers' events is acceptable. A nil limiter
// allows all events.
func (l *Limiter) Allow(key any) (suppressed int, ok bool) {
	if l == nil {
		return 0, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.start) >= l.period {
		l.start, l.logged = now, map[any]struct{}{}
	}
	if _, again := l.logged[key]; again || len(l.logged) >= l.maximum {
		l.suppressed++
		return 0, false
	}
	l.logged[key] = struct{}{}
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
