// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// TestWhoLacksAllIsAskedNothing: every behaviour ends, though no variant of it is left.
func TestWhoLacksAllIsAskedNothing(t *testing.T) {
	netnstest.New(t) // skips where there are none
	nothing := localsink.Func(func(context.Context, *localsink.Update) error { return nil })
	report := Try(t, Backend{
		Name: "nothing", Unsupported: localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP,
		New: func(context.Context, Namespace) (localsink.Sink, error) { return nothing, nil },
	}, "zero-resets", "churn", "many-ports")
	require.Len(t, report.Results, 3)
	require.Empty(t, report.Failed())
	for _, r := range report.Results {
		for _, c := range r.Cells {
			require.Contains(t, []Outcome{OutcomeUnsupported, OutcomeUntested}, c.Outcome, "%s %s", r.ID, c.Variant)
		}
	}
}

// TestWhatCannotBeTried: a name that nobody knows tests nothing, which must not look like a
// success.
func TestWhatCannotBeTried(t *testing.T) {
	b := Backend{New: func(context.Context, Namespace) (localsink.Sink, error) { return nil, nil }}
	require.NoError(t, b.validate([]string{"churn"}))
	require.NoError(t, b.validate(nil))
	require.ErrorContains(t, b.validate([]string{"churn", "chrun"}), `"chrun"`)
	require.ErrorContains(t, Backend{}.validate(nil), "Backend.New: required")
}
