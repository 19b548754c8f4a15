// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics has the Prometheus collectors of a node proxy. The names are those of
// kube-proxy for equal quantities, and begin with kpng_ otherwise. The package registers
// nothing by itself and is independent of the packet filter.
//
//	sink.go      durations of Sync and counts of Services: a sink around a sink
//	metrics.go   all other collectors, and the handler of /metrics
package metrics

import (
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sigs.k8s.io/kpng/backends/localhost"
)

// Namespaces of the metrics.
const (
	kubeProxy = "kubeproxy"
	kpng      = "kpng"
)

// Handler returns a handler of /metrics, with a registry of its own that has the given
// collectors and those of the Go runtime and the process. The error names a collector
// that collides with another.
func Handler(all ...prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	all = append([]prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	}, all...)
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), nil
}

// NewNotProgrammed returns a collector of the number of Services that a sink could not
// program, as count returns it. Calls of count may overlap.
func NewNotProgrammed(count func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: kpng, Name: "services_not_programmed",
		Help: "Services that the node could not program, wholly or in part, although they are valid.",
	}, func() float64 { return float64(count()) })
}

// NewLoopback returns the collectors of node ports on loopback addresses. Calls of stats
// may overlap.
func NewLoopback(stats func() localhost.Stats) prometheus.Collector {
	g := &group{}
	g.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: kubeProxy, Name: "nftables_localhost_nodeport_listeners",
		Help: "Open listeners for node ports on loopback addresses.",
	}, func() float64 { return float64(stats().Listeners) }))
	g.add(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: kubeProxy, Name: "nftables_localhost_nodeport_listener_creation_failures_total",
		Help: "Failed attempts to open a listener for a node port on a loopback address.",
	}, func() float64 { return float64(stats().OpenFailures) }))
	return g
}

// HealthRequests counts the responses of health checks by status code. It is a collector.
type HealthRequests struct {
	group
	Healthz, Livez *prometheus.CounterVec
}

// NewHealthRequests returns counters at zero.
func NewHealthRequests() *HealthRequests {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: kubeProxy, Name: name, Help: help}, []string{"code"})
	}
	h := &HealthRequests{
		Healthz: counter("proxy_healthz_total", "Responses of /healthz."),
		Livez:   counter("proxy_livez_total", "Responses of /livez."),
	}
	h.add(h.Healthz)
	h.add(h.Livez)
	return h
}

// InstrumentHealthz wraps a handler of /healthz.
func (h *HealthRequests) InstrumentHealthz(inner http.Handler) http.Handler {
	return promhttp.InstrumentHandlerCounter(h.Healthz, inner)
}

// InstrumentLivez wraps a handler of /livez.
func (h *HealthRequests) InstrumentLivez(inner http.Handler) http.Handler {
	return promhttp.InstrumentHandlerCounter(h.Livez, inner)
}

// A group is a collector that consists of others.
type group struct{ members []prometheus.Collector }

func (g *group) add(c prometheus.Collector) { g.members = append(g.members, c) }

// Describe implements [prometheus.Collector].
func (g *group) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range g.members {
		c.Describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (g *group) Collect(ch chan<- prometheus.Metric) {
	for _, c := range g.members {
		c.Collect(ch)
	}
}
