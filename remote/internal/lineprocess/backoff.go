// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package lineprocess

import "time"

// Delays before a child that has ended is started again.
const (
	minDelay = 100 * time.Millisecond
	maxDelay = 30 * time.Second
)

// A Backoff is the delay before a child is started again: it doubles from 100 ms to 30 s, and starts
// again after a child that lived longer than that. The zero value is ready for use.
type Backoff struct{ delay time.Duration }

// Next returns the delay after a child that lived for some time.
func (b *Backoff) Next(lived time.Duration) time.Duration {
	if b.delay == 0 || lived > maxDelay {
		b.delay = minDelay
		return b.delay
	}
	b.delay = min(2*b.delay, maxDelay)
	return b.delay
}
