// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// A contextClock ends every wait when its context is done. Without it, some pauses of a
// reflector last up to a minute after its context has ended.
type contextClock struct {
	clock.RealClock
	ctx context.Context
}

// After returns a channel that receives the time after d, or when the context is done.
func (c contextClock) After(d time.Duration) <-chan time.Time {
	fired := make(chan time.Time, 1)
	go func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case now := <-timer.C:
			fired <- now
		case <-c.ctx.Done():
			fired <- time.Now()
		}
	}()
	return fired
}
