// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// backendOf returns a Backend with one sink.
func backendOf(sync func(ctx context.Context, u *localsink.Update) error) Backend {
	return Backend{Name: "test", New: func(context.Context, Namespace) (localsink.Sink, error) { return localsink.Func(sync), nil }}
}

// TestHangingSyncIsAbandoned: a Sync that ignores its context is a failure of its
// behaviour, and the report has it.
func TestHangingSyncIsAbandoned(t *testing.T) {
	netnstest.New(t) // skips the test without the privilege
	release := make(chan struct{})
	defer close(release)
	b := backendOf(func(_ context.Context, u *localsink.Update) error {
		if u.All.Len() > 1 {
			<-release
		}
		return nil
	})
	b.TimeLimits.Sync = 50 * time.Millisecond
	b.Unsupported = localsink.FeatureUDP | localsink.FeatureSCTP
	report := Try(t, b, "endpoints-change")
	require.Equal(t, []string{"endpoints-change"}, report.Failed())
	require.Contains(t, report.Text(), "endpoints-change: IPv4 TCP: Sync: Sync has not returned 5s after the end of its time limit or context")
}

// TestTimeLimitKeepsReport: at the time limit of the test, an unfinished behaviour fails,
// and later ones too; both are in the report.
func TestTimeLimitKeepsReport(t *testing.T) {
	netnstest.New(t)
	k := newKit(t, backendOf(func(ctx context.Context, u *localsink.Update) error {
		if u.All.Len() > 1 {
			<-ctx.Done()
		}
		return ctx.Err()
	}))
	k.deadline = time.Now().Add(time.Second)
	results := []Result{}
	for _, bh := range behaviours()[:2] {
		results = append(results, k.check(t, bh))
	}
	report := k.report(results)
	require.Len(t, report.Failed(), 2)
	for _, id := range report.Failed() {
		require.Contains(t, report.Text(), id+": IPv6 UDP: not finished within the time limit of the test, see -timeout\n")
	}
}

// TestLimitOfOpenFiles: too low a limit is an error that names the remedy, before any
// behaviour fails because of it.
func TestLimitOfOpenFiles(t *testing.T) {
	require.NoError(t, checkOpenFiles())
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	low := limit
	low.Cur = 256
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &low))
	err := checkOpenFiles()
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
	require.ErrorContains(t, err, "the limit of open files is 256")
	require.ErrorContains(t, err, "ulimit -n")
}

// TestSkippedSubtests: a behaviour without a checked variant is skipped with all reasons; a
// failure is never hidden by a variant that is not checked.
func TestSkippedSubtests(t *testing.T) {
	r := Result{Cells: []Cell{
		{Variant: "IPv4 TCP", Outcome: OutcomeUnsupported, Reason: "no TCP"},
		{Variant: "IPv6 TCP", Outcome: OutcomeUnsupported, Reason: "no TCP"},
		{Variant: "IPv4 SCTP", Outcome: OutcomeUntested, Reason: "no module"},
	}}
	require.Equal(t, "unsupported: no TCP; untested: no module", r.skipped())
	require.Equal(t, "IPv4 TCP: unsupported: no TCP\nIPv6 TCP: unsupported: no TCP\nIPv4 SCTP: untested: no module\n", r.notChecked())
	for _, outcome := range []Outcome{OutcomePassed, OutcomeFailed} {
		r.Cells[1] = Cell{Variant: "IPv6 TCP", Outcome: outcome}
		require.Empty(t, r.skipped())
	}
	require.True(t, r.Failed())
}

// TestFailureTextIsCapped: an error with all rules of a backend does not fill the report.
func TestFailureTextIsCapped(t *testing.T) {
	require.Equal(t, "short", capText("short"))
	long := capText(strings.Repeat("ü", 100000))
	require.LessOrEqual(t, len(long), maxFailureText)
	require.True(t, strings.HasSuffix(long, "... (200000 bytes in total)"), long)

	netnstest.New(t)
	b := Backend{Name: "test", New: func(context.Context, Namespace) (localsink.Sink, error) {
		return nil, errors.New(strings.Repeat("rule ", 10000))
	}}
	for _, cell := range Try(t, b, "endpoints-change").Result("endpoints-change").Cells {
		if cell.Outcome != OutcomeUntested {
			require.Len(t, cell.Failures, 1)
			require.LessOrEqual(t, len(cell.Failures[0]), maxFailureText)
		}
	}
}

// TestFailingBackendIsReported: a backend that never succeeds fails each behaviour with its
// error.
func TestFailingBackendIsReported(t *testing.T) {
	netnstest.New(t)
	report := Try(t, backendOf(func(context.Context, *localsink.Update) error { return errors.New("injected") }), "endpoints-change", "pool-sizes")
	require.Equal(t, []string{"endpoints-change", "pool-sizes"}, report.Failed())
	require.Contains(t, report.Text(), "pool-sizes: IPv6 TCP: Sync: injected\n")
}

// TestUnusableBackendEndsEarly: a backend that does nothing fails the basic behaviour in
// every variant, and the others are not checked.
func TestUnusableBackendEndsEarly(t *testing.T) {
	netnstest.New(t)
	k := newKit(t, backendOf(func(context.Context, *localsink.Update) error { return nil }))
	all := behaviours()
	require.Equal(t, basicID, all[0].id, "it is the first")
	basic := k.check(t, all[0])
	require.True(t, basic.failedEverywhere())
	k.unusable = true
	for _, bh := range all[1:] {
		res := k.check(t, bh)
		require.NotEmpty(t, res.Cells)
		require.Equal(t, "untested: "+basicID+" fails in every variant", res.skipped())
	}
	basic.Cells[0].Outcome = OutcomePassed
	require.False(t, basic.failedEverywhere())
	require.False(t, (&Result{}).failedEverywhere())
}

// TestHints: each hint is for existing behaviours, and none has two.
func TestHints(t *testing.T) {
	seen := map[string]bool{}
	for _, h := range hints() {
		for _, id := range h.ids {
			require.Contains(t, IDs(), id)
			require.False(t, seen[id], "%s has two hints", id)
			seen[id] = true
		}
	}
}
