// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package metrics has the Prometheus collectors of a node proxy. The names are those of
// kube-proxy for equal quantities, and begin with kpng_ otherwise. The package registers
// nothing by itself and is independent of the packet filter.
//
//	sink.go      durations of Sync and counts of Services: a sink around a sink
//	families.go  counts by address family of backends
//	build.go     the build of the program and its feature gates
//	metrics.go   all other collectors, and the handlers of /metrics and /metrics/slis
package metrics

import (
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
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
		collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)), newProcess(),
	}, all...)
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("metrics: %w", err)
		}
	}
	return handler(registry), nil
}

// SLIHandler returns a handler of /metrics/slis, which kube-proxy has for service level
// indicators. Like kube-proxy's it has only the start time of the process.
func SLIHandler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newProcess()) // the first collector cannot collide
	return handler(prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all, err := registry.Gather()
		return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return f.GetName() != "process_start_time_seconds" }), err
	}))
}

func newProcess() prometheus.Collector {
	return collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
}

func handler(g prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(g, promhttp.HandlerOpts{ProcessStartTime: processStart()})
}

// processStart returns when the process started; the zero time if the system does not have
// it.
func processStart() (start time.Time) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newProcess()) // the first collector cannot collide
	all, err := registry.Gather()
	if err != nil {
		return start
	}
	for _, f := range all {
		if f.GetName() == "process_start_time_seconds" {
			return time.Unix(int64(f.GetMetric()[0].GetGauge().GetValue()), 0)
		}
	}
	return start
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
	return newFamilies(map[string]familyMetric{
		"nftables_localhost_nodeport_listeners": {
			help: "Open listeners for node ports on loopback addresses.", kind: prometheus.GaugeValue,
			values: func() [families]float64 {
				s := stats()
				return [families]float64{float64(s.Listeners - s.IPv6.Listeners), float64(s.IPv6.Listeners)}
			},
		},
		"nftables_localhost_nodeport_listener_creation_failures_total": {
			help: "Failed attempts to open a listener for a node port on a loopback address.", kind: prometheus.CounterValue,
			values: func() [families]float64 {
				s := stats()
				return [families]float64{float64(s.OpenFailures - s.IPv6.OpenFailures), float64(s.IPv6.OpenFailures)}
			},
		},
	})
}

// NewHTTP returns the collectors of the HTTP listeners of the process. Calls of stats may
// overlap.
func NewHTTP(stats func() httpserver.LimiterStats) prometheus.Collector {
	g := &group{}
	gauge := func(name, help string, value func(s httpserver.LimiterStats) int) {
		g.add(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: kpng, Name: name, Help: help},
			func() float64 { return float64(value(stats())) }))
	}
	gauge("http_listeners", "Open HTTP listeners.", func(s httpserver.LimiterStats) int { return s.Listeners })
	gauge("http_connections", "Open connections that HTTP listeners have accepted.", func(s httpserver.LimiterStats) int { return s.Connections })
	gauge("http_connections_limit", "Maximum number of connections that HTTP listeners hold with the present number of listeners.",
		func(s httpserver.LimiterStats) int { return min(s.MaxConnections, s.MaxDescriptors-s.Listeners) })
	g.add(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: kpng, Name: "http_connections_replaced_total", Help: "Connections that were closed in favour of newer ones, because the limit was reached.",
	}, func() float64 { return float64(stats().Replaced) }))
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
	for _, code := range []string{"200", "503"} { // so that a rate exists before the first failure
		h.Healthz.WithLabelValues(code)
		h.Livez.WithLabelValues(code)
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
