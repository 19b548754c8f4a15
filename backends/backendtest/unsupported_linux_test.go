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

// TestUnsupportedVariantsAreSkipped: a behaviour without a supported variant ends.
func TestUnsupportedVariantsAreSkipped(t *testing.T) {
	netnstest.New(t) // skips the test without the privilege
	empty := localsink.Func(func(context.Context, *localsink.Update) error { return nil })
	report := Try(t, Backend{
		Name: "nothing", Unsupported: localsink.FeatureTCP | localsink.FeatureUDP | localsink.FeatureSCTP,
		New: func(context.Context, Namespace) (localsink.Sink, error) { return empty, nil },
	}, "zero-resets", "churn", "many-ports")
	require.Len(t, report.Results, 3)
	require.Empty(t, report.Failed())
	for _, r := range report.Results {
		for _, c := range r.Cells {
			require.Contains(t, []Outcome{OutcomeUnsupported, OutcomeUntested}, c.Outcome, "%s %s", r.ID, c.Variant)
		}
	}
}

// TestBackendValidate: an unknown ID must not look like a success.
func TestBackendValidate(t *testing.T) {
	b := Backend{New: func(context.Context, Namespace) (localsink.Sink, error) { return nil, nil }}
	require.NoError(t, b.validate([]string{"churn"}))
	require.NoError(t, b.validate(nil))
	require.ErrorContains(t, b.validate([]string{"churn", "chrun"}), `"chrun"`)
	require.ErrorContains(t, Backend{}.validate(nil), "Backend.New: required")
}
