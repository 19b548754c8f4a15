// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/localsink"
)

// A Sink is a sink around a sink, and a collector of what it measures in each Sync.
type Sink struct {
	group
	inner localsink.Sink

	mu            sync.Mutex
	queued        bool              // an update is not applied yet
	applied       *localsink.Update // the last one; nil before the first
	withProblems  map[localsink.ServiceName]struct{}
	withoutLocals map[localsink.ServiceName]trafficPolicies

	duration, fullDuration, partialDuration prometheus.Histogram
	programmingLatency, reaction            prometheus.Histogram
	lastApplied, lastQueued                 prometheus.Gauge
	pending, services, problems             prometheus.Gauge
	noLocalEndpoints                        *prometheus.GaugeVec
	serviceChanges, endpointChanges         prometheus.Counter
	failures                                prometheus.Counter
}

// NewSink returns a Sink around inner, the sink that programs the rules.
func NewSink(inner localsink.Sink) *Sink {
	s := &Sink{
		inner:         inner,
		withProblems:  map[localsink.ServiceName]struct{}{},
		withoutLocals: map[localsink.ServiceName]trafficPolicies{},
	}
	s.defineDurations()
	s.defineState()
	return s
}

func (s *Sink) defineDurations() {
	histogram := func(namespace, name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
		s.add(h)
		return h
	}
	fine := prometheus.ExponentialBuckets(0.0001, 2, 20) // 0.1 ms to 52 s
	s.duration = histogram(kubeProxy, "sync_proxy_rules_duration_seconds", "Duration of an attempt to apply an update.", fine)
	s.fullDuration = histogram(kubeProxy, "sync_full_proxy_rules_duration_seconds",
		"Duration of an attempt to apply the first update, or one that changes the node.", fine)
	s.partialDuration = histogram(kubeProxy, "sync_partial_proxy_rules_duration_seconds",
		"Duration of an attempt to apply any other update.", fine)
	s.programmingLatency = histogram(kubeProxy, "network_programming_duration_seconds",
		"Time from a change in the API server to the rules that result from it.", prometheus.ExponentialBuckets(0.001, 2, 20))
	s.reaction = histogram(kpng, "reaction_duration_seconds",
		"Time from the arrival of the first change of an update in this process to the rules that result from it.", fine)
}

func (s *Sink) defineState() {
	gauge := func(namespace, name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
		s.add(g)
		return g
	}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: kubeProxy, Name: name, Help: help})
		s.add(c)
		return c
	}
	s.lastApplied = gauge(kubeProxy, "sync_proxy_rules_last_timestamp_seconds", "When an update was last applied.")
	s.lastQueued = gauge(kubeProxy, "sync_proxy_rules_last_queued_timestamp_seconds", "When an update was last queued.")
	s.pending = gauge(kubeProxy, "sync_proxy_rules_service_changes_pending", "Services whose changes are not applied.")
	s.serviceChanges = counter("sync_proxy_rules_service_changes_total", "Services that were added, removed or changed.")
	s.endpointChanges = counter("sync_proxy_rules_endpoint_changes_total", "Services of which only the endpoints changed.")
	s.failures = counter("sync_proxy_rules_nftables_sync_failures_total", "Attempts to apply an update that failed.")
	s.services = gauge(kpng, "services", "Services in the applied state of the node.")
	s.problems = gauge(kpng, "services_with_problems", "Services with an invalid field or an unsupported feature.")
	s.noLocalEndpoints = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: kubeProxy, Name: "sync_proxy_rules_no_local_endpoints_total",
		Help: "Services with traffic policy Local that have endpoints, but none on this node.",
	}, []string{"traffic_policy"})
	s.noLocalEndpoints.WithLabelValues("internal").Set(0)
	s.noLocalEndpoints.WithLabelValues("external").Set(0)
	s.add(s.noLocalEndpoints)
}

// Sinks returns the inner sink, for [localsink.Walk].
func (s *Sink) Sinks() []localsink.Sink { return []localsink.Sink{s.inner} }

// Sync implements [localsink.Sink].
func (s *Sink) Sync(ctx context.Context, u *localsink.Update) error {
	start := time.Now()
	s.begin(start, u)
	err := s.inner.Sync(ctx, u)
	s.end(start, u, err)
	return err
}

func (s *Sink) begin(now time.Time, u *localsink.Update) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.queued {
		s.queued = true
		s.lastQueued.Set(timestamp(now))
	}
	s.pending.Set(float64(len(u.Changed) + len(u.Removed)))
}

func (s *Sink) end(start time.Time, u *localsink.Update, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	seconds := now.Sub(start).Seconds()
	s.duration.Observe(seconds)
	if s.applied == nil || u.NodeChanged {
		s.fullDuration.Observe(seconds)
	} else {
		s.partialDuration.Observe(seconds)
	}
	if err != nil {
		s.failures.Inc()
		return
	}
	s.countChanges(u)
	s.queued, s.applied = false, u
	s.lastApplied.Set(timestamp(now))
	s.pending.Set(0)
	for _, trigger := range u.TriggerTimes {
		s.programmingLatency.Observe(now.Sub(trigger).Seconds())
	}
	if !u.ObservedTime.IsZero() {
		s.reaction.Observe(now.Sub(u.ObservedTime).Seconds())
	}
	s.countServices(u)
}

// countChanges separates changes of endpoints from changes of Services. It reads the
// state that was applied before u.
func (s *Sink) countChanges(u *localsink.Update) {
	s.serviceChanges.Add(float64(len(u.Removed)))
	for _, svc := range u.Changed {
		var before *localsink.Service
		if s.applied != nil {
			before = s.applied.All.Get(svc.Name)
		}
		if before != nil && sameFrontends(before, svc) {
			s.endpointChanges.Inc()
		} else {
			s.serviceChanges.Inc()
		}
	}
}

func sameFrontends(a, b *localsink.Service) bool {
	return slices.EqualFunc(a.Ports, b.Ports, func(p, q localsink.Port) bool {
		return p.Name == q.Name && p.Affinity == q.Affinity && slices.EqualFunc(p.Frontends, q.Frontends,
			func(f, g localsink.Frontend) bool { return f.Kind == g.Kind && f.Addr == g.Addr })
	})
}

// trafficPolicies are the policies of a Service because of which the node drops its
// traffic.
type trafficPolicies struct{ internal, external bool }

// withoutLocalEndpoints returns the policies of a Service that have endpoints on other
// nodes only: an empty pool whose traffic is dropped, not rejected.
func withoutLocalEndpoints(svc *localsink.Service) (policies trafficPolicies) {
	for _, port := range svc.Ports {
		for _, frontend := range port.Frontends {
			last := frontend.Routes[len(frontend.Routes)-1]
			if last.EmptyVerdict == localsink.VerdictDrop && len(port.Pools[last.Pool].Endpoints) == 0 {
				policies.internal = policies.internal || frontend.Kind == localsink.KindClusterIP
				policies.external = policies.external || frontend.Kind != localsink.KindClusterIP
			}
		}
	}
	return policies
}

// countServices updates the gauges that count Services.
func (s *Sink) countServices(u *localsink.Update) {
	for _, svc := range u.Changed {
		s.countService(svc.Name, len(svc.Problems) > 0, withoutLocalEndpoints(svc))
	}
	for _, svc := range u.Removed {
		s.countService(svc.Name, false, trafficPolicies{})
	}
	s.services.Set(float64(u.All.Len()))
	s.problems.Set(float64(len(s.withProblems)))
}

func (s *Sink) countService(name localsink.ServiceName, hasProblems bool, policies trafficPolicies) {
	if delete(s.withProblems, name); hasProblems {
		s.withProblems[name] = struct{}{}
	}
	before := s.withoutLocals[name]
	if delete(s.withoutLocals, name); policies != (trafficPolicies{}) {
		s.withoutLocals[name] = policies
	}
	s.noLocalEndpoints.WithLabelValues("internal").Add(number(policies.internal) - number(before.internal))
	s.noLocalEndpoints.WithLabelValues("external").Add(number(policies.external) - number(before.external))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func timestamp(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
