// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package backendmetrics has the Prometheus collectors of the backends for Linux, with
// kube-proxy's names. It is apart from package metrics, whose users compile no backend.
package backendmetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

// NewNFTables returns the collectors of b: its transactions, and the changes of its tables
// by other programs.
func NewNFTables(b *nftables.Backend) []prometheus.Collector {
	return []prometheus.Collector{
		metrics.NewTransactions(func() (ipv4, ipv6 metrics.Transactions) { return byFamily(b.Stats().Tables) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "kpng_external_changes_total", Help: "Detected changes of the rules by other programs.",
		}, func() float64 { return float64(b.Stats().ExternalChanges) }),
	}
}

func byFamily(tables []nftables.TableStats) (ipv4, ipv6 metrics.Transactions) {
	for _, t := range tables {
		counts := metrics.Transactions{SyncFailures: t.SyncFailures, CleanupFailures: t.CleanupFailures}
		if t.Family == "ip" {
			ipv4 = counts
		} else {
			ipv6 = counts
		}
	}
	return ipv4, ipv6
}

// NewConntrack returns a collector, and the function for [conntrack.Config.OnReconcile]
// that it observes.
func NewConntrack() (prometheus.Collector, func(conntrack.Reconciliation)) {
	r := metrics.NewReconciler()
	return r, func(done conntrack.Reconciliation) { r.Observe(done.IPv6, done.Duration, done.Removed) }
}
