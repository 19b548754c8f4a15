// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodemetrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/remote/node"
)

// Latencies collects how long changes take to reach nodes. Observe is the
// node.ServerConfig.OnAcknowledge of the server.
type Latencies struct {
	total  prometheus.Histogram
	stages *prometheus.HistogramVec
	acks   *prometheus.CounterVec

	// Elements of stages and acks.
	store, send, acknowledge, apply prometheus.Observer
	applied, failed                 prometheus.Counter
}

// NewLatencies returns a collector without observations.
func NewLatencies() *Latencies {
	buckets := prometheus.ExponentialBuckets(0.001, 2, 20) // up to 9 minutes
	l := &Latencies{
		total: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kpng_network_programming_duration_seconds", Buckets: buckets,
			Help: "Time from a change in the Kubernetes API until a node has applied it, observed for each node.",
		}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kpng_network_programming_stage_duration_seconds", Buckets: buckets,
			Help: "Stages of the network programming duration. store: from the change in the API until the server has published it; " +
				"send: until the server has sent the update; acknowledge: until the node has applied it; " +
				"apply: part of acknowledge during which the node applied the update, by its own clock.",
		}, []string{"stage"}),
		acks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kpng_server_acknowledgements_total", Help: "Acknowledgements from nodes, by result.",
		}, []string{"result"}),
	}
	l.store, l.send = l.stages.WithLabelValues("store"), l.stages.WithLabelValues("send")
	l.acknowledge, l.apply = l.stages.WithLabelValues("acknowledge"), l.stages.WithLabelValues("apply")
	l.applied, l.failed = l.acks.WithLabelValues("applied"), l.acks.WithLabelValues("failed")
	return l
}

// Observe adds an acknowledgement. It does not block and may be called concurrently.
func (l *Latencies) Observe(a node.Acknowledgement) {
	if a.Error != "" {
		l.failed.Inc()
		return
	}
	l.applied.Inc()
	l.apply.Observe(a.Duration.Seconds())
	observe(l.acknowledge, a.SentTime, a.AppliedTime)
	observe(l.send, a.PublishedTime, a.SentTime)
	for _, t := range a.TriggerTimes {
		observe(l.store, t, a.PublishedTime)
		observe(l.total, t, a.AppliedTime)
	}
}

// observe adds the time between from and to, if both are known. Times of different machines
// may be out of order because their clocks differ; that counts as 0.
func observe(o prometheus.Observer, from, to time.Time) {
	if !from.IsZero() && !to.IsZero() {
		o.Observe(max(to.Sub(from), 0).Seconds())
	}
}

func (l *Latencies) collectors() []prometheus.Collector {
	return []prometheus.Collector{l.total, l.stages, l.acks}
}

// Describe implements prometheus.Collector.
func (l *Latencies) Describe(out chan<- *prometheus.Desc) {
	for _, c := range l.collectors() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (l *Latencies) Collect(out chan<- prometheus.Metric) {
	for _, c := range l.collectors() {
		c.Collect(out)
	}
}
