// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodemetrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/remote/node"
)

// Latencies is a collector of how long changes take to reach nodes. Its Observe goes to
// remote.ServerConfig.
type Latencies struct {
	whole  prometheus.Histogram
	stages *prometheus.HistogramVec
	acks   *prometheus.CounterVec

	store, send, answer, apply prometheus.Observer
	applied, failed            prometheus.Counter
}

// NewLatencies returns a collector that has seen nothing.
func NewLatencies() *Latencies {
	buckets := prometheus.ExponentialBuckets(0.001, 2, 20) // up to 9 minutes
	l := &Latencies{
		whole: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kpng_network_programming_duration_seconds", Buckets: buckets,
			Help: "Time from a change in the Kubernetes API to a node that has applied it, for each node.",
		}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kpng_network_programming_stage_duration_seconds", Buckets: buckets,
			Help: "Parts of it. store: from the API to this server's state; send: from there to the stream; " +
				"answer: from there to the acknowledgement; apply: what the node says that applying took, within answer.",
		}, []string{"stage"}),
		acks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kpng_server_acknowledgements_total", Help: "Acknowledgements from nodes.",
		}, []string{"result"}),
	}
	l.store, l.send = l.stages.WithLabelValues("store"), l.stages.WithLabelValues("send")
	l.answer, l.apply = l.stages.WithLabelValues("answer"), l.stages.WithLabelValues("apply")
	l.applied, l.failed = l.acks.WithLabelValues("applied"), l.acks.WithLabelValues("failed")
	return l
}

// Observe takes in an acknowledgement. It does not block.
func (l *Latencies) Observe(a node.Acknowledgement) {
	if a.Error != "" {
		l.failed.Inc()
		return
	}
	l.applied.Inc()
	l.apply.Observe(a.Duration.Seconds())
	between(l.answer, a.SentTime, a.AppliedTime)
	between(l.send, a.ObservedTime, a.SentTime)
	for _, t := range a.TriggerTimes {
		between(l.store, t, a.ObservedTime)
		between(l.whole, t, a.AppliedTime)
	}
}

// between observes a time that is known. Clocks of different machines differ a little.
func between(o prometheus.Observer, from, to time.Time) {
	if !from.IsZero() && !to.IsZero() {
		o.Observe(max(to.Sub(from), 0).Seconds())
	}
}

func (l *Latencies) all() []prometheus.Collector {
	return []prometheus.Collector{l.whole, l.stages, l.acks}
}

// Describe implements prometheus.Collector.
func (l *Latencies) Describe(out chan<- *prometheus.Desc) {
	for _, c := range l.all() {
		c.Describe(out)
	}
}

// Collect implements prometheus.Collector.
func (l *Latencies) Collect(out chan<- prometheus.Metric) {
	for _, c := range l.all() {
		c.Collect(out)
	}
}
