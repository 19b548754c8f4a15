// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package problems

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A failingSink fails with the given errors.
type failingSink struct {
	err           error
	notProgrammed map[localsink.ServiceName]error
}

func (s *failingSink) Sync(context.Context, *localsink.Update) error { return s.err }

func (s *failingSink) NotProgrammed() map[localsink.ServiceName]error {
	return maps.Clone(s.notProgrammed)
}

// A recorder collects events.
type recorder struct{ events []string }

func (r *recorder) record(_ localsink.ServiceName, reason, message string) {
	r.events = append(r.events, reason+" "+message)
}

func (r *recorder) take() (events []string) {
	events, r.events = r.events, nil
	return events
}

func service(name string) *localsink.Service {
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: name}}
}

// TestOP14FailuresOfServices follows the failures of a Service: an event for each,
// counted until it is resolved, remembered then, and forgotten with the Service.
func TestOP14FailuresOfServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules, ports, warnings := &failingSink{}, &failingSink{}, &recorder{}
		tracker := NewTracker(localsink.Chain(rules, ports), warnings.record)
		a, b := service("a"), service("b")
		d := sinktest.Driver{Sink: tracker, Node: &localsink.Node{}}
		sync := func(services ...*localsink.Service) {
			t.Helper()
			require.NoError(t, d.Sync(t.Context(), sinktest.NewState(services...)))
			time.Sleep(time.Minute)
		}
		expectEvents := func(want ...string) {
			t.Helper()
			require.ElementsMatch(t, want, warnings.take())
		}
		start := time.Now()
		sync(a, b)
		require.Zero(t, tracker.Count())
		require.Empty(t, tracker.Services())

		rules.notProgrammed = map[localsink.ServiceName]error{a.Name: errors.New("refused")}
		ports.notProgrammed = map[localsink.ServiceName]error{a.Name: errors.New("taken"), b.Name: errors.New("taken")}
		sync(a, b)
		require.Equal(t, 2, tracker.Count())
		expectEvents("ServiceNotProgrammed refused", "ServiceNotProgrammed taken", "ServiceNotProgrammed taken")
		ports.notProgrammed[b.Name] = errors.New("taken by another")
		sync(a, b)
		expectEvents("ServiceNotProgrammed taken by another")
		require.Len(t, tracker.Failures(a.Name), 2)
		require.Equal(t, []Failure{{"taken by another", start.Add(2 * time.Minute), start.Add(2 * time.Minute), false}}, tracker.Failures(b.Name))
		sync(a, b)
		expectEvents()
		require.Equal(t, []Failure{{"taken by another", start.Add(2 * time.Minute), start.Add(3 * time.Minute), false}}, tracker.Failures(b.Name))

		ports.notProgrammed = nil
		sync(a, b)
		require.Equal(t, 1, tracker.Count())
		require.Equal(t, []Failure{{"taken by another", start.Add(2 * time.Minute), start.Add(3 * time.Minute), true}}, tracker.Failures(b.Name))
		rules.notProgrammed = nil
		sync(a, b)
		require.Zero(t, tracker.Count())
		require.Len(t, tracker.Failures(a.Name), 2, "resolved failures are remembered")
		for _, failure := range tracker.Failures(a.Name) {
			require.True(t, failure.Resolved)
		}
		ports.notProgrammed = map[localsink.ServiceName]error{b.Name: errors.New("taken by another")}
		sync(a, b)
		expectEvents("ServiceNotProgrammed taken by another")
		require.Equal(t, 1, tracker.Count())

		ports.notProgrammed = nil
		sync(b)
		require.Empty(t, tracker.Failures(a.Name), "the Service was removed")
		require.Equal(t, []localsink.ServiceName{b.Name}, tracker.Services())
	})
}

// TestFailedUpdateIsAFailureOfItsServices checks that it is remembered until another
// update fails.
func TestFailedUpdateIsAFailureOfItsServices(t *testing.T) {
	rules := &failingSink{err: errors.New("first")}
	tracker := NewTracker(rules, nil)
	a, b, c := service("a"), service("b"), service("c")
	d := sinktest.Driver{Sink: tracker, Node: &localsink.Node{}}
	sync := func(services ...*localsink.Service) { _ = d.Sync(t.Context(), sinktest.NewState(services...)) }
	expect := func(svc *localsink.Service, text string, resolved bool) {
		t.Helper()
		require.Len(t, tracker.Failures(svc.Name), 1)
		require.Equal(t, text, tracker.Failures(svc.Name)[0].Error)
		require.Equal(t, resolved, tracker.Failures(svc.Name)[0].Resolved)
	}
	sync(a)
	expect(a, "first", false)
	rules.err = errors.New("second")
	sync(a, b)
	expect(a, "second", false)
	expect(b, "second", false)
	rules.err = nil
	sync(a, b)
	expect(a, "second", true)
	rules.err = errors.New("third")
	sync(a, b, c)
	expect(c, "third", false)
	require.Empty(t, tracker.Failures(a.Name), "another update failed, without it")
}

// TestReasonOfHealthChecks checks that kube-proxy's reason for events is in use.
func TestReasonOfHealthChecks(t *testing.T) {
	checks, err := healthcheck.NewServices(healthcheck.Config{})
	require.NoError(t, err)
	require.Equal(t, "FailedToStartServiceHealthcheck", reason(checks))
	require.Equal(t, "ServiceNotProgrammed", reason(&failingSink{}))
}
