// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package paths

import (
	"context"
	"testing"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A States is a sink around the plugin's: it describes the dataplane after each Sync.
type States struct {
	inner    localsink.Sink
	describe func() string
	states   chan string
}

// NewStates returns a States. describe is called by Sync.
func NewStates(inner localsink.Sink, describe func() string) *States {
	return &States{inner: inner, describe: describe, states: make(chan string, 1000)}
}

// Sinks returns the inner sink, for localsink.Walk.
func (s *States) Sinks() []localsink.Sink { return []localsink.Sink{s.inner} }

// Sync implements localsink.Sink.
func (s *States) Sync(ctx context.Context, u *localsink.Update) error {
	err := s.inner.Sync(ctx, u)
	if err == nil {
		s.states <- s.describe()
	}
	return err
}

// Await returns when the dataplane is as described.
func (s *States) Await(t *testing.T, want string) {
	t.Helper()
	last, timeout := "", time.After(Timeout)
	for {
		select {
		case last = <-s.states:
			if last == want {
				return
			}
		case <-timeout:
			t.Fatalf("the dataplane does not reach the state\n%s\nlast:\n%s", want, last)
		}
	}
}
