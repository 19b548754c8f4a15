// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendmetrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

func TestTablesAreAddressFamilies(t *testing.T) {
	v4, v6 := byFamily([]nftables.TableStats{{Family: "ip", SyncFailures: 1}, {Family: "ip6", SyncFailures: 3, CleanupFailures: 2}})
	require.Equal(t, metrics.Transactions{SyncFailures: 1}, v4)
	require.Equal(t, metrics.Transactions{SyncFailures: 3, CleanupFailures: 2}, v6)
}

func TestReconciliationsAreCollected(t *testing.T) {
	collector, observe := NewConntrack()
	observe(conntrack.Reconciliation{Duration: time.Second, Removed: 4})
	observe(conntrack.Reconciliation{IPv6: true, Removed: 5})
	require.NoError(t, testutil.CollectAndCompare(collector, strings.NewReader(`
# HELP kubeproxy_conntrack_reconciler_deleted_entries_total Connection tracking entries that were removed.
# TYPE kubeproxy_conntrack_reconciler_deleted_entries_total counter
kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"} 4
kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv6"} 5
`), "kubeproxy_conntrack_reconciler_deleted_entries_total"))
}
