// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/localsink"
)

// Values of the label ip_family.
const (
	ipv4 = iota
	ipv6
	families
)

func familyLabel(family int) string { return [families]string{"IPv4", "IPv6"}[family] }

// A SinkConfig configures a Sink. The zero value is ready for use.
type SinkConfig struct {
	// VerifyInterval is the time after which the Sink requests a resync if none has
	// succeeded. The request goes through the loop that calls Sync and through all sinks
	// inside, so sync_proxy_rules_last_timestamp_seconds shows when all of them were last
	// known to work and the rules to be in place. 0 requests none.
	VerifyInterval time.Duration
}

// A Sink is a sink around a sink, and a collector of what it measures in each Sync.
//
// An update covers both address families, so what is measured of a Sync is the same for
// both values of the label ip_family. Only what belongs to the addresses of Services
// differs.
type Sink struct {
	group
	inner  localsink.Sink
	cfg    SinkConfig
	resync chan struct{}
	verify *time.Timer // requests a resync; nil without VerifyInterval
	// verifying reports whether the timer has requested a resync since the last Sync.
	verifying atomic.Bool

	mu            sync.Mutex
	queued        bool            // an update is not applied yet
	current       changeCounts    // of the update in the running Sync
	applied       localsink.State // the last one; nil before the first
	withProblems  map[localsink.ServiceName]struct{}
	withoutLocals map[localsink.ServiceName][families]trafficPolicies

	duration, fullDuration, partialDuration [families]prometheus.Observer
	programmingLatency                      [families]prometheus.Observer
	lastApplied, lastQueued                 [families]prometheus.Gauge
	noInternal, noExternal                  [families]prometheus.Gauge
	reaction                                prometheus.Histogram
	servicesPending, endpointsPending       prometheus.Gauge
	services, problems                      prometheus.Gauge
	serviceChanges, endpointChanges         prometheus.Counter
	failures                                prometheus.Counter
}

var (
	_ localsink.Sink            = (*Sink)(nil)
	_ localsink.ResyncRequester = (*Sink)(nil)
)

// NewSink returns a Sink around inner, the sink that programs the rules.
func NewSink(inner localsink.Sink, cfg SinkConfig) *Sink {
	s := &Sink{
		inner: inner, cfg: cfg, resync: make(chan struct{}, 1),
		withProblems:  map[localsink.ServiceName]struct{}{},
		withoutLocals: map[localsink.ServiceName][families]trafficPolicies{},
	}
	if cfg.VerifyInterval > 0 {
		s.verify = time.AfterFunc(cfg.VerifyInterval, s.requestResync)
		s.verify.Stop() // until the first update is applied
	}
	s.defineDurations()
	s.defineState()
	return s
}

func (s *Sink) defineDurations() {
	histogram := func(name, help string, buckets []float64) (observers [families]prometheus.Observer) {
		vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: kubeProxy, Name: name, Help: help, Buckets: buckets}, []string{ipFamily})
		s.add(vec)
		for family := range observers {
			observers[family] = vec.WithLabelValues(familyLabel(family))
		}
		return observers
	}
	buckets := syncBuckets()
	s.duration = histogram("sync_proxy_rules_duration_seconds", "Duration of an attempt to apply an update.", buckets)
	s.fullDuration = histogram("sync_full_proxy_rules_duration_seconds",
		"Duration of an attempt to apply the first update, one that changes the node, or one that replaces all rules.", buckets)
	s.partialDuration = histogram("sync_partial_proxy_rules_duration_seconds", "Duration of an attempt to apply any other update.", buckets)
	s.programmingLatency = histogram("network_programming_duration_seconds",
		"Time from a change in the API server to the rules that result from it.", programmingBuckets())
	s.reaction = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: kpng, Name: "reaction_duration_seconds",
		Help:    "Time from the arrival of the first change of an update in this process to the rules that result from it.",
		Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20), // 0.1 ms to 52 s
	})
	s.add(s.reaction)
}

func (s *Sink) defineState() {
	gauges := func(name, help string) (gauges [families]prometheus.Gauge) {
		vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: kubeProxy, Name: name, Help: help}, []string{ipFamily})
		s.add(vec)
		for family := range gauges {
			gauges[family] = vec.WithLabelValues(familyLabel(family))
		}
		return gauges
	}
	gauge := func(namespace, name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
		s.add(g)
		return g
	}
	counter := func(namespace, name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
		s.add(c)
		return c
	}
	s.lastApplied = gauges("sync_proxy_rules_last_timestamp_seconds", "When the rules were last known to be those that are desired.")
	s.lastQueued = gauges("sync_proxy_rules_last_queued_timestamp_seconds", "When an update was last queued.")
	s.servicesPending = gauge(kubeProxy, "sync_proxy_rules_service_changes_pending", "Services whose changes are not applied.")
	s.endpointsPending = gauge(kubeProxy, "sync_proxy_rules_endpoint_changes_pending", "Services whose changes of endpoints are not applied.")
	s.serviceChanges = counter(kubeProxy, "sync_proxy_rules_service_changes_total", "Services that were added, removed or changed.")
	s.endpointChanges = counter(kubeProxy, "sync_proxy_rules_endpoint_changes_total", "Services of which only the endpoints changed.")
	s.failures = counter(kpng, "sync_failures_total", "Attempts to apply an update that failed.")
	s.services = gauge(kpng, "services", "Services in the applied state of the node.")
	s.problems = gauge(kpng, "services_with_problems", "Services with an invalid field or an unsupported feature.")
	noLocalEndpoints := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: kubeProxy, Name: "sync_proxy_rules_no_local_endpoints_total",
		Help: "Services with traffic policy Local that have endpoints, but none on this node.",
	}, []string{"traffic_policy", ipFamily})
	s.add(noLocalEndpoints)
	for family := range families {
		s.noInternal[family] = noLocalEndpoints.WithLabelValues("internal", familyLabel(family))
		s.noExternal[family] = noLocalEndpoints.WithLabelValues("external", familyLabel(family))
	}
}

// syncBuckets returns kube-proxy's buckets for durations of a sync, 1 ms to 16 s.
func syncBuckets() []float64 { return prometheus.ExponentialBuckets(0.001, 2, 15) }

// programmingBuckets returns kube-proxy's buckets for the latency of network programming: 0,
// then finest around the objective of one second, up to five minutes.
func programmingBuckets() []float64 {
	return slices.Concat([]float64{0}, prometheus.LinearBuckets(0.25, 0.25, 2), prometheus.LinearBuckets(1, 1, 59),
		prometheus.LinearBuckets(60, 5, 12), prometheus.LinearBuckets(120, 30, 7))
}

// Sinks returns the inner sink, for [localsink.Walk].
func (s *Sink) Sinks() []localsink.Sink { return []localsink.Sink{s.inner} }

// ResyncRequested implements [localsink.ResyncRequester]; see [SinkConfig.VerifyInterval].
func (s *Sink) ResyncRequested() <-chan struct{} { return s.resync }

func (s *Sink) requestResync() {
	s.verifying.Store(true)
	select {
	case s.resync <- struct{}{}:
	default:
	}
}

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
		for _, g := range s.lastQueued {
			g.Set(timestamp(now))
		}
	}
	s.current = s.count(u)
	s.servicesPending.Set(float64(s.current.services))
	s.endpointsPending.Set(float64(s.current.endpoints))
}

func (s *Sink) end(start time.Time, u *localsink.Update, err error) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observeDuration(now.Sub(start), u, err)
	if err != nil {
		s.failures.Inc()
		return
	}
	s.serviceChanges.Add(float64(s.current.services))
	s.endpointChanges.Add(float64(s.current.endpoints))
	s.queued, s.applied = false, u.All // u may list all Services
	for _, g := range s.lastApplied {
		g.Set(timestamp(now))
	}
	s.servicesPending.Set(0)
	s.endpointsPending.Set(0)
	s.observeLatencies(now, u)
	s.countServices(u)
	if s.verify != nil {
		s.verify.Reset(s.cfg.VerifyInterval)
	}
}

// observeDuration observes how long a Sync took. One that only verified the rules takes
// next to no time and would hide the others.
func (s *Sink) observeDuration(d time.Duration, u *localsink.Update, err error) {
	empty := !u.NodeChanged && len(u.Changed) == 0 && len(u.Removed) == 0
	if s.verifying.Swap(false) && empty && err == nil {
		return
	}
	kind := s.partialDuration
	if s.applied == nil || u.NodeChanged || empty {
		kind = s.fullDuration
	}
	for family := range families {
		s.duration[family].Observe(d.Seconds())
		kind[family].Observe(d.Seconds())
	}
}

// observeLatencies observes the times since the changes of an update that is applied: of
// the families that its Services have, and of both if only the removal of endpoints is left
// of them.
func (s *Sink) observeLatencies(now time.Time, u *localsink.Update) {
	if !u.ObservedTime.IsZero() {
		s.reaction.Observe(now.Sub(u.ObservedTime).Seconds())
	}
	if len(u.TriggerTimes) == 0 {
		return
	}
	var has [families]bool
	for _, list := range [][]*localsink.Service{u.Changed, u.Removed} {
		for _, svc := range list {
			for _, port := range svc.Ports {
				for _, frontend := range port.Frontends {
					has[familyOf(frontend)] = true
				}
			}
		}
	}
	for family, observer := range s.programmingLatency {
		if !has[family] && has != [families]bool{} {
			continue
		}
		for _, trigger := range u.TriggerTimes {
			observer.Observe(now.Sub(trigger).Seconds())
		}
	}
}

func familyOf(f localsink.Frontend) int {
	if f.Addr.Addr().Is4() {
		return ipv4
	}
	return ipv6
}

// changeCounts separates changes of endpoints from changes of Services.
type changeCounts struct{ services, endpoints int }

// count counts the changes of u. It reads the state that was applied before u.
func (s *Sink) count(u *localsink.Update) changeCounts {
	n := changeCounts{services: len(u.Removed)}
	for _, svc := range u.Changed {
		var before *localsink.Service
		if s.applied != nil {
			before = s.applied.Get(svc.Name)
		}
		if before != nil && sameFrontends(before, svc) {
			n.endpoints++
		} else {
			n.services++
		}
	}
	return n
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

// withoutLocalEndpoints returns, by family, the policies of a Service that has endpoints
// on other nodes only: an empty pool whose traffic is dropped, not rejected.
func withoutLocalEndpoints(svc *localsink.Service) (policies [families]trafficPolicies) {
	for _, port := range svc.Ports {
		for _, frontend := range port.Frontends {
			last := frontend.Routes[len(frontend.Routes)-1]
			if last.EmptyVerdict == localsink.VerdictDrop && len(port.Pools[last.Pool].Endpoints) == 0 {
				p := &policies[familyOf(frontend)]
				p.internal = p.internal || frontend.Kind == localsink.KindClusterIP
				p.external = p.external || frontend.Kind != localsink.KindClusterIP
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
		s.countService(svc.Name, false, [families]trafficPolicies{})
	}
	s.services.Set(float64(u.All.Len()))
	s.problems.Set(float64(len(s.withProblems)))
}

func (s *Sink) countService(name localsink.ServiceName, hasProblems bool, policies [families]trafficPolicies) {
	if delete(s.withProblems, name); hasProblems {
		s.withProblems[name] = struct{}{}
	}
	before := s.withoutLocals[name]
	if policies == before {
		return
	}
	if delete(s.withoutLocals, name); policies != ([families]trafficPolicies{}) {
		s.withoutLocals[name] = policies
	}
	for family := range families {
		s.noInternal[family].Add(number(policies[family].internal) - number(before[family].internal))
		s.noExternal[family].Add(number(policies[family].external) - number(before[family].external))
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func timestamp(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
