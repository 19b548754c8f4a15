// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodemetrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/remote/node"
)

// A Server is what [Nodes] asks.
type Server interface{ Stats() node.Stats }

// Nodes is a collector of how a server and its nodes stand.
type Nodes struct {
	server                                     Server
	revision, nodes, unknown, current, failing *prometheus.Desc
	lag, messages, bytes, worst, ready         *prometheus.Desc
}

// NewNodes returns a collector of server.
func NewNodes(server Server) *Nodes {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kpng_server_"+name, help, labels, nil)
	}
	return &Nodes{
		server:   server,
		ready:    desc("ready", "Whether the facts are complete and nodes are told."),
		revision: desc("revision", "The number of the newest state; another server's has nothing to do with it."),
		nodes:    desc("nodes", "Nodes, by whether they are connected to this server.", "state"),
		unknown:  desc("nodes_unknown", "Connected nodes of whose name there is no Node."),
		current:  desc("nodes_current", "Connected nodes that have applied the newest state."),
		failing:  desc("nodes_failing", "Connected nodes that could not apply what they tried last."),
		lag:      desc("node_lag_seconds", "For how long connected nodes have not applied what is newest."),
		worst:    desc("node_lag_max_seconds", "The same for the node that is most behind."),
		messages: desc("sent_messages_total", "Messages that nodes were sent."),
		bytes:    desc("sent_bytes_total", "Bytes that nodes were sent, before compression and framing."),
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

// quantile returns, in seconds, what so many percent of lags do not exceed. The least
// lag comes first.
func quantile(lags []time.Duration, percent int) float64 {
	if len(lags) == 0 {
		return 0
	}
	at := (len(lags)*percent+99)/100 - 1
	return lags[max(at, 0)].Seconds()
}

func total(lags []time.Duration) (seconds float64) {
	for _, l := range lags {
		seconds += l.Seconds()
	}
	return seconds
}
