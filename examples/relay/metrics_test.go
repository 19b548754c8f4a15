// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/remote/cluster"
)

// TestUpstreamMetrics: they tell a relay whose facts age from one that is told of changes.
func TestUpstreamMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		contact := cluster.Status{Since: time.Now()}
		all := upstreamMetrics(func() cluster.Status { return contact })
		connected, lost := all[0], all[1]
		time.Sleep(time.Minute)
		require.Zero(t, testutil.ToFloat64(connected))
		require.EqualValues(t, 60, testutil.ToFloat64(lost))
		contact.Synced = true
		require.EqualValues(t, 1, testutil.ToFloat64(connected))
		require.Zero(t, testutil.ToFloat64(lost))
	})
}
