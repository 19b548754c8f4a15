// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"sync"

	"sigs.k8s.io/kpng/localsink"
)

// An AppliedSink is a sink around a sink that remembers the state which the inner one
// applied last.
type AppliedSink struct {
	inner localsink.Sink

	mu      sync.Mutex
	applied *localsink.Update
	lastErr error
}

// NewAppliedSink returns an AppliedSink around inner.
func NewAppliedSink(inner localsink.Sink) *AppliedSink { return &AppliedSink{inner: inner} }

// Sinks returns the inner sink, for [localsink.Walk].
func (s *AppliedSink) Sinks() []localsink.Sink { return []localsink.Sink{s.inner} }

// Sync implements [localsink.Sink].
func (s *AppliedSink) Sync(ctx context.Context, u *localsink.Update) error {
	err := s.inner.Sync(ctx, u)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lastErr = err; err == nil {
		s.applied = &localsink.Update{Node: u.Node, All: u.All} // the delta may be all Services
	}
	return err
}

// Applied returns the state that was applied last, without a delta, nil before the first, and the error
// of the last Sync. It may be called from any goroutine.
func (s *AppliedSink) Applied() (*localsink.Update, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied, s.lastErr
}
