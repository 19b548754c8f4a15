package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

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
	problems map[localsink.ServiceName]int

	duration, full, partial, latency prometheus.Histogram
	lastSuccess, lastQueued          prometheus.Gauge
	pending, services, faulty        prometheus.Gauge
	changes, failures                prometheus.Counter
	healthz, livez                   *prometheus.CounterVec
}

func newMonitor(inner localsink.Sink) *monitor {
	m := &monitor{
		inner:    inner,
		registry: prometheus.NewRegistry(),
		problems: map[localsink.ServiceName]int{},
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.defineMetrics()
	return m
}

func (m *monitor) defineMetrics() {
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "kubeproxy", Name: name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
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
	m.lastSuccess = gauge("kubeproxy", "sync_proxy_rules_last_timestamp_seconds", "When the rules were last brought in line.")
	m.lastQueued = gauge("kubeproxy", "sync_proxy_rules_last_queued_timestamp_seconds", "When that was last asked for.")
	m.pending = gauge("kubeproxy", "sync_proxy_rules_service_changes_pending", "Services that differ from the rules in place.")
	m.changes = counter("sync_proxy_rules_service_changes_total", "Services whose rules were changed.")
	m.failures = counter("sync_proxy_rules_nftables_sync_failures_total", "Attempts to change rules that failed.")
	m.healthz = vec("proxy_healthz_total", "Answers of /healthz.")
	m.livez = vec("proxy_livez_total", "Answers of /livez.")
	m.services = gauge("kpng", "services", "Services that the node serves or reports on.")
	m.faulty = gauge("kpng", "services_with_problems", "Services whose input cannot be honoured as a whole.")
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
	m.queued, m.applied = false, u
	m.lastSuccess.Set(seconds(now))
	m.pending.Set(0)
	m.changes.Add(float64(len(u.Changed) + len(u.Removed)))
	for _, t := range u.Triggered {
		m.latency.Observe(now.Sub(t).Seconds())
	}
	m.countProblems(u)
}

func (m *monitor) countProblems(u *localsink.Update) {
	for _, svc := range u.Changed {
		if m.problems[svc.Name] = len(svc.Problems); len(svc.Problems) == 0 {
			delete(m.problems, svc.Name)
		}
	}
	for _, svc := range u.Removed {
		delete(m.problems, svc.Name)
	}
	m.services.Set(float64(u.All.Len()))
	m.faulty.Set(float64(len(m.problems)))
}

// state returns the update that was applied last, nil at first, and why a newer one
// is not.
func (m *monitor) state() (*localsink.Update, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied, m.lastErr
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
