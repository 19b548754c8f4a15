// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/localsink"
)

// connectionsTimeout is how long one collection of the counts of connections may take.
const connectionsTimeout = 10 * time.Second

// A ConnectionsConfig configures the collector of counts of new connections.
type ConnectionsConfig struct {
	// Counter counts. Required.
	Counter localsink.ConnectionCounter
	// Services yields the Services that are programmed. Required. Calls may overlap.
	Services func() iter.Seq[*localsink.Service]
	// Endpoints adds a series for each endpoint of each frontend.
	Endpoints bool
}

// NewConnections returns the collector of the counts of new connections. It has one series for
// each frontend.
func NewConnections(cfg ConnectionsConfig) prometheus.Collector {
	name := func(s string) string { return prometheus.BuildFQName(kpng, "", s) }
	return &connections{
		cfg: cfg,
		frontend: prometheus.NewDesc(name("frontend_new_connections_total"), "New connections to a frontend of a Service, rejected ones included.",
			[]string{"namespace", "service", "origin", "port", "protocol", "frontend", "kind"}, nil),
		endpoint: prometheus.NewDesc(name("endpoint_new_connections_total"),
			"New connections to an endpoint of a Service; without a frontend if all frontends of the port are counted together.",
			[]string{"namespace", "service", "origin", "port", "protocol", "frontend", "endpoint"}, nil),
		failure: prometheus.NewDesc(name("connection_count_failures_total"), "Failed reads of the number of new connections of a Service.", nil, nil),
	}
}

type connections struct {
	cfg                         ConnectionsConfig
	frontend, endpoint, failure *prometheus.Desc
	failures                    atomic.Uint64
}

// Describe implements [prometheus.Collector].
func (c *connections) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.frontend
	ch <- c.endpoint
	ch <- c.failure
}

// Collect implements [prometheus.Collector]. A Service whose counts cannot be read is left out.
func (c *connections) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), connectionsTimeout)
	defer cancel()
	series := connectionSeries{} // sums, because invalid Services can have two ports with the same labels
	for s := range c.cfg.Services() {
		if err := c.read(ctx, s.Name, series); err != nil {
			c.failures.Add(1)
		}
		series.send(ch)
		clear(series)
		if ctx.Err() != nil {
			break
		}
	}
	ch <- prometheus.MustNewConstMetric(c.failure, prometheus.CounterValue, float64(c.failures.Load()))
}

// read adds the counts of a Service.
func (c *connections) read(ctx context.Context, name localsink.ServiceName, series connectionSeries) error {
	frontends, err := c.cfg.Counter.FrontendConnections(ctx, name)
	if err != nil {
		return err
	}
	for _, f := range frontends {
		series[seriesKey{c.frontend, f.Port, f.Protocol, f.Addr.String(), f.Kind.String(), name}] += f.Count
	}
	if !c.cfg.Endpoints {
		return nil
	}
	endpoints, err := c.cfg.Counter.EndpointConnections(ctx, name)
	if err != nil {
		return err
	}
	for _, e := range endpoints {
		frontend := ""
		if e.Frontend.IsValid() {
			frontend = e.Frontend.String()
		}
		series[seriesKey{c.endpoint, e.Port, e.Protocol, frontend, e.Endpoint.String(), name}] += e.Count
	}
	return nil
}

// A connectionSeries has the counts by their labels.
type connectionSeries map[seriesKey]uint64

type seriesKey struct {
	desc     *prometheus.Desc
	port     string
	protocol localsink.Protocol
	frontend string
	other    string // kind or endpoint
	service  localsink.ServiceName
}

func (s connectionSeries) send(ch chan<- prometheus.Metric) {
	for k, n := range s {
		labels := []string{k.service.Namespace, k.service.Name, k.service.Origin, k.port, strings.ToLower(k.protocol.String()), k.frontend, k.other}
		ch <- prometheus.MustNewConstMetric(k.desc, prometheus.CounterValue, float64(n), labels...)
	}
}
