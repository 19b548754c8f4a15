// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ipFamily is the label of metrics that kube-proxy has for each address family.
const ipFamily = "ip_family"

// A familyMetric is a metric with the label ip_family whose values are read when they are
// collected.
type familyMetric struct {
	help   string
	kind   prometheus.ValueType
	values func() [families]float64
}

// A familiesCollector collects familyMetrics.
type familiesCollector map[*prometheus.Desc]familyMetric

func newFamilies(byName map[string]familyMetric) familiesCollector {
	c := familiesCollector{}
	for name, m := range byName {
		c[prometheus.NewDesc(prometheus.BuildFQName(kubeProxy, "", name), m.help, []string{ipFamily}, nil)] = m
	}
	return c
}

// Describe implements [prometheus.Collector].
func (c familiesCollector) Describe(ch chan<- *prometheus.Desc) {
	for desc := range c {
		ch <- desc
	}
}

// Collect implements [prometheus.Collector].
func (c familiesCollector) Collect(ch chan<- prometheus.Metric) {
	for desc, m := range c {
		for family, value := range m.values() {
			ch <- prometheus.MustNewConstMetric(desc, m.kind, value, familyLabel(family))
		}
	}
}

// Transactions are the counts of one address family of an nftables backend.
type Transactions struct {
	// SyncFailures counts the transactions that failed, CleanupFailures those of them that
	// only removed what was no longer needed.
	SyncFailures, CleanupFailures uint64
}

// NewTransactions returns the collectors of the transactions of an nftables backend. Calls
// of stats may overlap.
func NewTransactions(stats func() (ipv4, ipv6 Transactions)) prometheus.Collector {
	counter := func(help string, value func(t Transactions) uint64) familyMetric {
		return familyMetric{help: help, kind: prometheus.CounterValue, values: func() [families]float64 {
			v4, v6 := stats()
			return [families]float64{float64(value(v4)), float64(value(v6))}
		}}
	}
	return newFamilies(map[string]familyMetric{
		"sync_proxy_rules_nftables_sync_failures_total": counter("Transactions that failed.",
			func(t Transactions) uint64 { return t.SyncFailures }),
		"sync_proxy_rules_nftables_cleanup_failures_total": counter("Transactions that failed to remove what was no longer needed.",
			func(t Transactions) uint64 { return t.CleanupFailures }),
	})
}

// A Reconciler measures the removal of stale connection tracking entries. It is a collector.
type Reconciler struct {
	group
	duration [families]prometheus.Observer
	deleted  [families]prometheus.Counter
}

// NewReconciler returns a Reconciler without observations.
func NewReconciler() *Reconciler {
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: kubeProxy, Name: "conntrack_reconciler_sync_duration_seconds",
		Help: "Duration of the removal of stale connection tracking entries.", Buckets: syncBuckets(),
	}, []string{ipFamily})
	deleted := prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: kubeProxy, Name: "conntrack_reconciler_deleted_entries_total", Help: "Connection tracking entries that were removed.",
	}, []string{ipFamily})
	r := &Reconciler{}
	r.add(duration)
	r.add(deleted)
	for family := range families {
		r.duration[family] = duration.WithLabelValues(familyLabel(family))
		r.deleted[family] = deleted.WithLabelValues(familyLabel(family))
	}
	return r
}

// Observe records one removal of stale entries.
func (r *Reconciler) Observe(isIPv6 bool, d time.Duration, removed uint) {
	family := ipv4
	if isIPv6 {
		family = ipv6
	}
	r.duration[family].Observe(d.Seconds())
	r.deleted[family].Add(float64(removed))
}
