// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

func TestTakeoverFailuresAreCounted(t *testing.T) {
	failures := uint64(0)
	collector := NewTakeover(func() uint64 { return failures })
	require.Zero(t, testutil.ToFloat64(collector))
	failures = 3
	require.InDelta(t, 3, testutil.ToFloat64(collector), 0)
}
