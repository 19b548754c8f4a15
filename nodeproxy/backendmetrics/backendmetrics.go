// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package backendmetrics has the Prometheus collectors of the backends, with
// kube-proxy's names. It is apart from package metrics, whose users compile no backend.
package backendmetrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

// NewNFTables returns the collectors of b: its transactions, and the changes of its tables
// by other programs.
func NewNFTables(b *nftables.Backend) []prometheus.Collector {
	return []prometheus.Collector{
		metrics.NewTransactions(func() (ipv4, ipv6 metrics.Transactions) { return byFamily(b.Stats().Tables) }),
		newExternalChanges(func() uint64 { return b.Stats().ExternalChanges }),
	}
}

func newExternalChanges(count func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "kpng_external_changes_total", Help: "Detected changes of the rules by other programs.",
	}, func() float64 { return float64(count()) })
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

// NewHNS returns collectors, and the function for [hns.Config.OnFailure] that they count. Unlike
// those of kube-proxy, they have no label lb_type.
func NewHNS() ([]prometheus.Collector, func(hns.Failure)) {
	counters := map[hns.Operation]*prometheus.CounterVec{}
	var all []prometheus.Collector
	for _, op := range []hns.Operation{hns.OperationCreate, hns.OperationModify, hns.OperationDelete} {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubeproxy_sync_proxy_rules_winkernel_lb_" + string(op) + "_failures_total",
			Help: "Failed calls of HNS to " + string(op) + " a load balancer.",
		}, []string{"ip_family", "error"})
		counters[op] = c
		all = append(all, c)
	}
	return all, func(f hns.Failure) {
		family := "IPv4"
		if f.IPv6 {
			family = "IPv6"
		}
		counters[f.Operation].WithLabelValues(family, errorClass(f.Err)).Inc()
	}
}

// errorClass returns kube-proxy's name of the class of an error of HNS.
func errorClass(err error) string {
	switch {
	case errors.Is(err, hns.ErrExists):
		return "port_already_exists"
	case errors.Is(err, hns.ErrNotImplemented):
		return "not_implemented"
	}
	return "other"
}
