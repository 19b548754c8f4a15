// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A partial is a sink that fails as told.
type partial struct {
	fail     error
	unserved map[localsink.ServiceName]error
}

func (p *partial) Sync(context.Context, *localsink.Update) error { return p.fail }

func (p *partial) NotProgrammed() map[localsink.ServiceName]error { return maps.Clone(p.unserved) }

// TestOP14Faults follows the error of one Service: told once, counted while it lasts,
// remembered when it is over, and forgotten with the Service.
func TestOP14Faults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules, ports, recorder, count := &partial{}, &partial{}, events.NewFakeRecorder(100), 0
		f := newFaults(localsink.Chain(rules, ports), recorder, func(n int) { count = n })
		a, b := service("a", localsink.VerdictReject), service("b", localsink.VerdictReject)
		d := sinktest.Driver{Sink: f, Node: &localsink.Node{}}
		sync := func(services ...*localsink.Service) {
			t.Helper()
			require.NoError(t, d.Sync(t.Context(), sinktest.NewState(services...)))
			time.Sleep(time.Minute)
		}
		told := func(want ...string) {
			t.Helper()
			var got []string
			for len(recorder.Events) > 0 {
				got = append(got, <-recorder.Events)
			}
			require.ElementsMatch(t, want, got)
		}
		begun := time.Now()
		sync(a, b)
		require.Zero(t, count)
		require.Empty(t, f.services())

		rules.unserved = map[localsink.ServiceName]error{a.Name: errors.New("refused")}
		ports.unserved = map[localsink.ServiceName]error{a.Name: errors.New("taken"), b.Name: errors.New("taken")}
		sync(a, b)
		require.Equal(t, 2, count)
		told("Warning ServiceNotServed refused", "Warning ServiceNotServed taken", "Warning ServiceNotServed taken")
		ports.unserved[b.Name] = errors.New("taken by another")
		sync(a, b)
		told("Warning ServiceNotServed taken by another")
		require.Len(t, f.of(a.Name), 2)
		require.Equal(t, []fault{{"taken by another", begun.Add(2 * time.Minute), begun.Add(2 * time.Minute), false}}, f.of(b.Name))
		sync(a, b)
		told()
		require.Equal(t, []fault{{"taken by another", begun.Add(2 * time.Minute), begun.Add(3 * time.Minute), false}}, f.of(b.Name))

		ports.unserved = nil
		sync(a, b)
		require.Equal(t, 1, count)
		require.Equal(t, []fault{{"taken by another", begun.Add(2 * time.Minute), begun.Add(3 * time.Minute), true}}, f.of(b.Name))
		rules.unserved = nil
		sync(a, b)
		require.Zero(t, count)
		require.Len(t, f.of(a.Name), 2, "what is over is remembered")
		for _, one := range f.of(a.Name) {
			require.True(t, one.Over)
		}
		ports.unserved = map[localsink.ServiceName]error{b.Name: errors.New("taken by another")}
		sync(a, b)
		told("Warning ServiceNotServed taken by another")
		require.Equal(t, 1, count)

		ports.unserved = nil
		sync(b)
		require.Empty(t, f.of(a.Name), "the Service is gone")
		require.Equal(t, []localsink.ServiceName{b.Name}, f.services())
	})
}

// TestFailedUpdates: what an update that failed was about is told of its Services, for as
// long as there is no other that failed.
func TestFailedUpdates(t *testing.T) {
	rules := &partial{fail: errors.New("first")}
	f := newFaults(rules, events.NewFakeRecorder(100), func(int) {})
	a, b, c := service("a", localsink.VerdictReject), service("b", localsink.VerdictReject), service("c", localsink.VerdictReject)
	d := sinktest.Driver{Sink: f, Node: &localsink.Node{}}
	sync := func(services ...*localsink.Service) { _ = d.Sync(t.Context(), sinktest.NewState(services...)) }
	is := func(svc *localsink.Service, text string, over bool) {
		t.Helper()
		require.Len(t, f.of(svc.Name), 1)
		require.Equal(t, text, f.of(svc.Name)[0].Error)
		require.Equal(t, over, f.of(svc.Name)[0].Over)
	}
	sync(a)
	is(a, "first", false)
	rules.fail = errors.New("second")
	sync(a, b)
	is(a, "second", false)
	is(b, "second", false)
	rules.fail = nil
	sync(a, b)
	is(a, "second", true)
	rules.fail = errors.New("third")
	sync(a, b, c)
	is(c, "third", false)
	require.Empty(t, f.of(a.Name), "another failure, about others")
}

// TestReason: health checks keep kube-proxy's reason for events.
func TestReason(t *testing.T) {
	checks, err := healthcheck.NewServices(healthcheck.Config{})
	require.NoError(t, err)
	require.Equal(t, "FailedToStartServiceHealthcheck", reason(checks))
	require.Equal(t, "ServiceNotServed", reason(&partial{}))
}
