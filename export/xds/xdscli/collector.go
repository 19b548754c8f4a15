// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xdscli

import (
	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/export/xds"
)

// A collector makes metrics of the numbers of a sink.
type collector struct {
	sink                                                 *xds.Sink
	names, bytes, streams, opened, responses, rejections *prometheus.Desc
}

func newCollector(sink *xds.Sink) collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kpng_xds_"+name, help, labels, nil)
	}
	return collector{
		sink:       sink,
		names:      desc("names", "Number of names of Service ports that are served."),
		bytes:      desc("resources_bytes", "Size of all encoded resources."),
		streams:    desc("streams", "Number of open streams of clients."),
		opened:     desc("streams_opened_total", "Streams of clients that were opened."),
		responses:  desc("responses_total", "Responses that were sent, by type of resource.", "type"),
		rejections: desc("rejections_total", "Responses that a client has rejected, by type of resource.", "type"),
	}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.sink.Stats()
	gauge := func(d *prometheus.Desc, n int) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	counter := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge(c.names, s.Names)
	gauge(c.bytes, s.Bytes)
	gauge(c.streams, s.Streams)
	counter(c.opened, s.Opened)
	for k, name := range xds.Kinds() {
		counter(c.responses, s.Responses[k], name)
		counter(c.rejections, s.Rejections[k], name)
	}
}
