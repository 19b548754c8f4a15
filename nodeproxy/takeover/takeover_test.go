// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package takeover

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestTablesAreRemovedWithChangesOfTheNode(t *testing.T) {
	calls, fail := 0, errors.New("injected")
	sink := newSink(func() error { calls++; return fail })
	require.ErrorIs(t, sink.Sync(t.Context(), &localsink.Update{NodeChanged: true}), fail, "the update is not applied, and comes again")
	fail = nil
	require.NoError(t, sink.Sync(t.Context(), &localsink.Update{NodeChanged: true}))
	require.NoError(t, sink.Sync(t.Context(), &localsink.Update{}))
	require.Equal(t, 2, calls)
}
