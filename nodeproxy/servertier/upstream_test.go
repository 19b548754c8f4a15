// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/remote/cluster"
)

func TestUpstreamMetricsShowTheAgeOfTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status := cluster.Status{Since: time.Now()}
		collectors := NewUpstream(func() cluster.Status { return status })
		connected, lost := collectors[0], collectors[1]
		time.Sleep(time.Minute)
		require.Zero(t, testutil.ToFloat64(connected))
		require.EqualValues(t, 60, testutil.ToFloat64(lost))
		status.Synced = true
		require.EqualValues(t, 1, testutil.ToFloat64(connected))
		require.Zero(t, testutil.ToFloat64(lost))
	})
}
