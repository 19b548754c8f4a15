// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeproxy

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// TestOP15NothingRunsAheadOfTheRules checks the order, and that a failure ends a Sync.
func TestOP15NothingRunsAheadOfTheRules(t *testing.T) {
	var calls []string
	sink := func(name string, err error) localsink.Sink {
		return localsink.Func(func(context.Context, *localsink.Update) error {
			calls = append(calls, name)
			return err
		})
	}
	failed := errors.New("injected")
	sinks := Sinks{
		Problems: sink("problems", nil), Rules: sink("rules", failed), HealthChecks: sink("checks", nil),
		Loopback: sink("loopback", nil), Flows: sink("flows", nil),
		AfterFirstSync: func() { calls = append(calls, "after") },
	}
	require.ErrorIs(t, sinks.Chain().Sync(t.Context(), &localsink.Update{}), failed)
	require.Equal(t, []string{"problems", "rules"}, calls)

	calls = nil
	sinks.Rules, sinks.Flows = sink("rules", nil), sink("flows", failed)
	require.ErrorIs(t, sinks.Chain().Sync(t.Context(), &localsink.Update{}), failed)
	require.Equal(t, []string{"problems", "rules", "checks", "loopback", "flows"}, calls)

	calls = nil
	sinks.Flows = sink("flows", nil)
	chain := sinks.Chain()
	require.NoError(t, chain.Sync(t.Context(), &localsink.Update{}))
	require.NoError(t, chain.Sync(t.Context(), &localsink.Update{}))
	all := []string{"problems", "rules", "checks", "loopback", "flows"}
	require.Equal(t, append(append(append([]string{}, all...), "after"), all...), calls, "after the first success, once")
}

func TestMissingSinksAreLeftOut(t *testing.T) {
	require.NoError(t, Sinks{}.Chain().Sync(t.Context(), &localsink.Update{}))
}
