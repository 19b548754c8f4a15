// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"sigs.k8s.io/kpng/remote/transport"
)

// NewListener returns a collector of the connections and rejected calls of a listener, as
// stats returns them: transport.Listener.Stats.
func NewListener(stats func() transport.ListenerStats) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &listenerCollector{
		stats: stats,
		open: desc("kpng_server_connections", "Open connections: authenticated since their first permitted call, or unauthenticated.",
			"state"),
		closed: desc("kpng_server_connections_closed_total", "Connections that the server closed because of its limits, by reason.",
			"reason"),
		rejected:   desc("kpng_server_calls_rejected_total", "Calls that the server rejected, by gRPC status code.", "code"),
		handshakes: desc("kpng_server_handshakes_failed_total", "Connections that did not complete their handshake."),
	}
}

type listenerCollector struct {
	stats                              func() transport.ListenerStats
	open, closed, rejected, handshakes *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *listenerCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *listenerCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.stats()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	send(c.open, prometheus.GaugeValue, float64(stats.Authenticated), "authenticated")
	send(c.open, prometheus.GaugeValue, float64(stats.Unauthenticated), "unauthenticated")
	for _, reason := range transport.CloseReasons() {
		send(c.closed, prometheus.CounterValue, float64(stats.Closed[reason]), string(reason))
	}
	for _, code := range []codes.Code{codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument, codes.ResourceExhausted} {
		send(c.rejected, prometheus.CounterValue, float64(stats.Rejected[code]), code.String())
	}
	send(c.handshakes, prometheus.CounterValue, float64(stats.FailedHandshakes))
}
