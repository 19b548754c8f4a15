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

	for key, reason := range map[string]string{"DP-41": "x", "DP-41 IPv6 UDP": "x"} {
		b.Exceptions = map[string]string{key: reason}
		require.NoError(t, b.validate(nil), key)
	}
	for key, reason := range map[string]string{"DP-41": "", "DP-0": "x", "DP-41 IPv5 UDP": "x", "DP-41 ": "x"} {
		b.Exceptions = map[string]string{key: reason}
		require.ErrorContains(t, b.validate(nil), "Backend.Exceptions: ", key)
	}
}

func TestExceptionsApplyToVariants(t *testing.T) {
	c := &checker{backend: Backend{Exceptions: map[string]string{"DP-41": "all", "churn IPv4 UDP": "one"}}}
	udp4, udp6 := variant{false, localsink.ProtocolUDP}, variant{true, localsink.ProtocolUDP}
	for id, want := range map[string][2]string{"DP-41": {"all", "all"}, "churn": {"one", ""}, "DP-01": {"", ""}} {
		c.behaviour.id = id
		require.Equal(t, want, [2]string{c.exception(udp4), c.exception(udp6)}, id)
	}
}
