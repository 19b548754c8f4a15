// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodemetrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/remote/node"
)

// A Server provides the statistics of [Nodes]; *node.Server implements it.
type Server interface{ Stats() node.Stats }

// Nodes collects the state of a server and its nodes.
type Nodes struct {
	server                                     Server
	revision, nodes, unknown, current, failing *prometheus.Desc
	lag, messages, bytes, worst, ready         *prometheus.Desc
}

// NewNodes returns a collector for server.
func NewNodes(server Server) *Nodes {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kpng_server_"+name, help, labels, nil)
	}
	return &Nodes{
		server:   server,
		ready:    desc("ready", "1 if the cluster state is complete and the server sends updates, otherwise 0."),
		revision: desc("revision", "Newest revision of this server. Revisions of different servers are unrelated."),
		nodes:    desc("nodes", "Number of nodes, by whether they are connected to this server.", "state"),
		unknown:  desc("nodes_unknown", "Number of connected nodes whose Node object is missing."),
		current:  desc("nodes_current", "Number of connected nodes that have applied the newest revision."),
		failing:  desc("nodes_failing", "Number of connected nodes that failed to apply their last update."),
		lag:      desc("node_lag_seconds", "Time since the oldest update that a connected node has not applied was sent; 0 if it has applied all."),
		worst:    desc("node_lag_max_seconds", "Maximum of kpng_server_node_lag_seconds."),
		messages: desc("sent_messages_total", "Messages sent to nodes."),
		bytes:    desc("sent_bytes_total", "Bytes sent to nodes, before compression and framing."),
	}
}

// Describe implements prometheus.Collector.
func (n *Nodes) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		n.ready, n.revision, n.nodes, n.unknown, n.current, n.failing, n.lag, n.worst, n.messages, n.bytes,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (n *Nodes) Collect(out chan<- prometheus.Metric) {
	s := n.server.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ready := 0.0
	if s.Revision > 0 {
		ready = 1
	}
	gauge(n.ready, ready)
	gauge(n.revision, float64(s.Revision))
	gauge(n.nodes, float64(s.Connected), "connected")
	gauge(n.nodes, float64(s.Disconnected), "absent")
	gauge(n.unknown, float64(s.Unknown))
	gauge(n.current, float64(s.Current))
	gauge(n.failing, float64(s.Failing))
	out <- prometheus.MustNewConstSummary(n.lag, uint64(len(s.Lags)), total(s.Lags), map[float64]float64{
		0.5: quantile(s.Lags, 50), 0.9: quantile(s.Lags, 90), 0.99: quantile(s.Lags, 99),
	})
	gauge(n.worst, quantile(s.Lags, 100))
	out <- prometheus.MustNewConstMetric(n.messages, prometheus.CounterValue, float64(s.Messages))
	out <- prometheus.MustNewConstMetric(n.bytes, prometheus.CounterValue, float64(s.Bytes))
}

// quantile returns a percentile of lags in seconds. lags must be sorted in ascending order.
func quantile(lags []time.Duration, percent int) float64 {
	if len(lags) == 0 {
		return 0
	}
	index := (len(lags)*percent+99)/100 - 1
	return lags[max(index, 0)].Seconds()
}

func total(lags []time.Duration) (seconds float64) {
	for _, l := range lags {
		seconds += l.Seconds()
	}
	return seconds
}
