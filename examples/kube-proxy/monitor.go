// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/localsink"
)

// A monitor is a sink around a sink: it measures each Sync, in kube-proxy's metrics
// where they mean the same, and remembers what the state page shows.
type monitor struct {
	inner    localsink.Sink
	registry *prometheus.Registry

	mu       sync.Mutex
	queued   bool // an update has come and not succeeded yet
	applied  *localsink.Update
	lastErr  error
	problems map[localsink.ServiceName]struct{}
	noLocal  map[localsink.ServiceName]absence

	duration, full, partial, latency prometheus.Histogram
	reaction                         prometheus.Histogram
	lastSuccess, lastQueued          prometheus.Gauge
	pending, services, faulty        prometheus.Gauge
	unserved                         prometheus.Gauge
	noLocalEndpoints                 *prometheus.GaugeVec
	serviceChanges, endpointChanges  prometheus.Counter
	failures                         prometheus.Counter
	healthz, livez                   *prometheus.CounterVec
}

func newMonitor(inner localsink.Sink) *monitor {
	m := &monitor{
		inner:    inner,
		registry: prometheus.NewRegistry(),
		problems: map[localsink.ServiceName]struct{}{},
		noLocal:  map[localsink.ServiceName]absence{},
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.defineMetrics()
	return m
}

func (m *monitor) defineMetrics() {
	histogramOf := func(namespace, name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return histogramOf("kubeproxy", name, help, buckets)
	}
	gauge := func(namespace, name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kubeproxy", Name: name, Help: help})
		m.registry.MustRegister(c)
		return c
	}
	vec := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kubeproxy", Name: name, Help: help}, []string{"code"})
		m.registry.MustRegister(c)
		return c
	}
	sync := prometheus.ExponentialBuckets(0.0001, 2, 20)
	m.duration = histogram("sync_proxy_rules_duration_seconds", "Time to bring the rules in line with one update.", sync)
	m.full = histogram("sync_full_proxy_rules_duration_seconds", "The same, for updates that list everything.", sync)
	m.partial = histogram("sync_partial_proxy_rules_duration_seconds", "The same, for all other updates.", sync)
	m.latency = histogram("network_programming_duration_seconds",
		"Time from the change that the API server was told of to rules in place.", prometheus.ExponentialBuckets(0.001, 2, 20))
	m.reaction = histogramOf("kpng", "reaction_duration_seconds",
		"Time from the first change that an update is about reaching this process to rules in place.", sync)
	m.lastSuccess = gauge("kubeproxy", "sync_proxy_rules_last_timestamp_seconds", "When the rules were last brought in line.")
	m.lastQueued = gauge("kubeproxy", "sync_proxy_rules_last_queued_timestamp_seconds", "When that was last asked for.")
	m.pending = gauge("kubeproxy", "sync_proxy_rules_service_changes_pending", "Services that differ from the rules in place.")
	m.serviceChanges = counter("sync_proxy_rules_service_changes_total", "Services that were added, removed or changed.")
	m.endpointChanges = counter("sync_proxy_rules_endpoint_changes_total", "Services whose endpoints changed.")
	m.noLocalEndpoints = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "kubeproxy", Name: "sync_proxy_rules_no_local_endpoints_total",
		Help: "Services whose traffic policy is Local and which have endpoints, but none on this node.",
	}, []string{"traffic_policy"})
	m.registry.MustRegister(m.noLocalEndpoints)
	m.noLocalEndpoints.WithLabelValues("internal").Set(0)
	m.noLocalEndpoints.WithLabelValues("external").Set(0)
	m.failures = counter("sync_proxy_rules_nftables_sync_failures_total", "Attempts to change rules that failed.")
	m.healthz = vec("proxy_healthz_total", "Answers of /healthz.")
	m.livez = vec("proxy_livez_total", "Answers of /livez.")
	m.services = gauge("kpng", "services", "Services that the node serves or reports on.")
	m.unserved = gauge("kpng", "services_unserved", "Services that cannot be served, or not wholly, although their input can be honoured.")
	m.faulty = gauge("kpng", "services_with_problems", "Services whose input cannot be honoured as a whole.")
}

// watchLoopback adds kube-proxy's metrics of node ports on loopback addresses.
func (m *monitor) watchLoopback(stats func() localhost.Stats) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "kubeproxy", Name: "nftables_localhost_nodeport_listeners", Help: "Node ports that answer on loopback addresses.",
		}, func() float64 { return float64(stats().Listeners) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Namespace: "kubeproxy", Name: "nftables_localhost_nodeport_listener_creation_failures_total", Help: "Attempts to let one answer that failed.",
		}, func() float64 { return float64(stats().OpenFailures) }))
}

// Sinks lets localsink.Walk see inside.
func (m *monitor) Sinks() []localsink.Sink { return []localsink.Sink{m.inner} }

// Sync implements localsink.Sink.
func (m *monitor) Sync(ctx context.Context, u *localsink.Update) error {
	begun := time.Now()
	m.begin(begun, u)
	err := m.inner.Sync(ctx, u)
	m.end(begun, u, err)
	return err
}

func (m *monitor) begin(now time.Time, u *localsink.Update) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.queued {
		m.queued = true
		m.lastQueued.Set(seconds(now))
	}
	m.pending.Set(float64(len(u.Changed) + len(u.Removed)))
}

func (m *monitor) end(begun time.Time, u *localsink.Update, err error) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	took := now.Sub(begun).Seconds()
	m.duration.Observe(took)
	if m.applied == nil || u.NodeChanged {
		m.full.Observe(took)
	} else {
		m.partial.Observe(took)
	}
	if m.lastErr = err; err != nil {
		m.failures.Inc()
		return
	}
	m.countChanges(u)
	m.queued, m.applied = false, u
	m.lastSuccess.Set(seconds(now))
	m.pending.Set(0)
	for _, t := range u.TriggerTimes {
		m.latency.Observe(now.Sub(t).Seconds())
	}
	if !u.ObservedTime.IsZero() {
		m.reaction.Observe(now.Sub(u.ObservedTime).Seconds())
	}
	m.countServices(u)
}

// countChanges tells changes of endpoints from changes of Services.
func (m *monitor) countChanges(u *localsink.Update) {
	m.serviceChanges.Add(float64(len(u.Removed)))
	for _, svc := range u.Changed {
		var before *localsink.Service
		if m.applied != nil {
			before = m.applied.All.Get(svc.Name)
		}
		if before != nil && sameFrontends(before, svc) {
			m.endpointChanges.Inc()
		} else {
			m.serviceChanges.Inc()
		}
	}
}

func sameFrontends(a, b *localsink.Service) bool {
	return slices.EqualFunc(a.Ports, b.Ports, func(p, q localsink.Port) bool {
		return p.Name == q.Name && p.Affinity == q.Affinity && slices.EqualFunc(p.Frontends, q.Frontends,
			func(f, g localsink.Frontend) bool { return f.Kind == g.Kind && f.Addr == g.Addr })
	})
}

// An absence says for which clients a Service is silent on this node.
type absence struct{ internal, external bool }

// absenceOf finds routes that lead nowhere although there are endpoints elsewhere.
func absenceOf(svc *localsink.Service) (a absence) {
	for _, p := range svc.Ports {
		for _, fe := range p.Frontends {
			last := fe.Routes[len(fe.Routes)-1]
			if last.EmptyVerdict == localsink.VerdictDrop && len(p.Pools[last.Pool].Endpoints) == 0 {
				a.internal = a.internal || fe.Kind == localsink.KindClusterIP
				a.external = a.external || fe.Kind != localsink.KindClusterIP
			}
		}
	}
	return a
}

// countServices keeps the gauges of Services up to date.
func (m *monitor) countServices(u *localsink.Update) {
	for _, svc := range u.Changed {
		m.note(svc.Name, len(svc.Problems) > 0, absenceOf(svc))
	}
	for _, svc := range u.Removed {
		m.note(svc.Name, false, absence{})
	}
	m.services.Set(float64(u.All.Len()))
	m.faulty.Set(float64(len(m.problems)))
}

// note remembers what is to be counted of a Service.
func (m *monitor) note(name localsink.ServiceName, faulty bool, now absence) {
	if delete(m.problems, name); faulty {
		m.problems[name] = struct{}{}
	}
	before := m.noLocal[name]
	if delete(m.noLocal, name); now != (absence{}) {
		m.noLocal[name] = now
	}
	m.noLocalEndpoints.WithLabelValues("internal").Add(number(now.internal) - number(before.internal))
	m.noLocalEndpoints.WithLabelValues("external").Add(number(now.external) - number(before.external))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// state returns the update that was applied last, nil at first, and why a newer one
// is not.
func (m *monitor) state() (*localsink.Update, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied, m.lastErr
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
