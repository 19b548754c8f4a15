// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/remote/cluster"
)

// TestMetricsOfSeveralUpstreams checks that the age of joined cluster state is that of its oldest part.
func TestMetricsOfSeveralUpstreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.Empty(t, (&Env{}).collectors())
		start := time.Now()
		a, b := cluster.Status{Synced: true, Since: start}, cluster.Status{Since: start}
		e := &Env{upstreams: []func() cluster.Status{func() cluster.Status { return a }, func() cluster.Status { return b }}}
		collectors := e.collectors()
		connected, lost := collectors[0], collectors[1]
		time.Sleep(time.Minute)
		require.Zero(t, testutil.ToFloat64(connected))
		require.EqualValues(t, 60, testutil.ToFloat64(lost))
		a = cluster.Status{Since: time.Now()}
		require.EqualValues(t, 60, testutil.ToFloat64(lost))
		b = cluster.Status{Synced: true, Since: time.Now()}
		time.Sleep(time.Second)
		require.EqualValues(t, 1, testutil.ToFloat64(lost))
		a = b
		require.EqualValues(t, 1, testutil.ToFloat64(connected))
		require.Zero(t, testutil.ToFloat64(lost))
	})
}
