// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pipeline assembles the sinks of one node proxy around a backend, with everything
// that observes them. It does not know where the desired state comes from, and serves no
// HTTP.
//
// From the desired state to the node, and what observes each step:
//
//	problems.Tracker ──────────────────> events, metrics, /state
//	  problems.Reporter ───────────────> log, events
//	  health.EligibilitySink ──────────> /healthz
//	    healthcheck.Proxy ─────────────> /healthz, /livez
//	      metrics.Sink ────────────────> /metrics
//	        status.AppliedSink ────────> /state
//	          Rules (the backend)
//	  health checks, loopback, Flows
//
// After the first update, Takeover runs beside later ones.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy"
	"sigs.k8s.io/kpng/nodeproxy/health"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
	"sigs.k8s.io/kpng/nodeproxy/problems"
	"sigs.k8s.io/kpng/nodeproxy/status"
)

// verifyInterval is well below five minutes, the age of the last sync at which operators of
// kube-proxy are alerted.
const verifyInterval = time.Minute

// Values of [Config.CountConnections].
const (
	countServices  = "services"
	countEndpoints = "endpoints"
)

// A Takeover removes the rules of another proxy; takeover.Takeover is one.
type Takeover interface {
	// Run is called once. It returns when it has ended, at the latest soon after ctx is done.
	Run(ctx context.Context)
	// Failures returns the number of failed attempts. It may be called concurrently.
	Failures() uint64
}

// A Config configures a Pipeline.
type Config struct {
	// Rules programs the packet path. Required.
	Rules localsink.Sink
	// Flows and AfterFirstSync are those of [nodeproxy.Sinks], and may be nil.
	Flows          localsink.Sink
	AfterFirstSync func()
	// Takeover removes the rules of another proxy, after all sinks have applied a first
	// update and beside later ones. It may be nil.
	Takeover Takeover
	// HealthTimeout is how long an update may take to be applied before /healthz fails; zero
	// means one minute.
	HealthTimeout time.Duration
	// Eligible reports whether load balancers may send traffic to the node; nil derives it
	// from the updates.
	Eligible func() bool
	// Event receives Problems and failures of Services; it may be nil.
	Event problems.EventFunc
	// Explain is that of [status.Config], and may be nil.
	Explain func(name localsink.ServiceName) (*nodelocal.Explanation, error)
	// CountConnections is which numbers of new connections the collectors have: those of
	// "services", by frontend, or those of "endpoints" too; empty for none. Then Rules must count
	// connections; see [localsink.ConnectionCounter].
	CountConnections string
	// NoLoopbackListeners leaves node ports on loopback addresses to Rules.
	NoLoopbackListeners bool
	// InterfaceAddrs is that of [healthcheck.Config]; nil lists all addresses.
	InterfaceAddrs func() ([]net.Addr, error)
	// Limiter bounds the descriptors of listeners. Required.
	Limiter *httpserver.Limiter
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// A Pipeline is the assembled sinks of one node. It is a [localsink.Sink].
type Pipeline struct {
	cfg      Config
	applied  *status.AppliedSink
	measured *metrics.Sink
	checks   *healthcheck.Services
	loopback *localhost.Sink // nil if Rules serve loopback addresses
	tracker  *problems.Tracker
	requests *metrics.HealthRequests
	synced   chan struct{} // closed after the first update

	healthHandler http.Handler
}

// New returns a Pipeline, which must be closed. The sinks of cfg remain the caller's.
func New(cfg Config) (*Pipeline, error) {
	switch {
	case cfg.Rules == nil:
		return nil, errors.New("pipeline: Rules: required")
	case cfg.Limiter == nil:
		return nil, errors.New("pipeline: Limiter: required")
	case !slices.Contains([]string{"", countServices, countEndpoints}, cfg.CountConnections):
		return nil, fmt.Errorf("pipeline: CountConnections: %q is not services or endpoints", cfg.CountConnections)
	case cfg.CountConnections != "" && connectionCounter(cfg.Rules) == nil:
		return nil, errors.New("pipeline: CountConnections: Rules do not count connections")
	}
	if cfg.HealthTimeout == 0 {
		cfg.HealthTimeout = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p := &Pipeline{cfg: cfg, applied: status.NewAppliedSink(cfg.Rules), requests: metrics.NewHealthRequests(), synced: make(chan struct{})}
	p.measured = metrics.NewSink(p.applied, metrics.SinkConfig{VerifyInterval: verifyInterval})
	healthy, err := healthcheck.NewProxy(p.measured, cfg.HealthTimeout)
	if err != nil {
		return nil, err
	}
	eligibility := health.NewEligibilitySink(healthy)
	if cfg.Eligible == nil {
		cfg.Eligible = eligibility.Eligible
	}
	if p.checks, err = healthcheck.NewServices(healthcheck.Config{
		Healthy: healthy.Healthy, Listen: cfg.Limiter.Listen, InterfaceAddrs: cfg.InterfaceAddrs, ErrorLog: httpserver.ErrorLog(cfg.Logger), Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	sinks := nodeproxy.Sinks{
		Problems:       problems.NewReporter(cfg.Logger, cfg.Event),
		Rules:          eligibility,
		HealthChecks:   p.checks,
		Flows:          cfg.Flows,
		AfterFirstSync: p.afterFirstSync,
	}
	if !cfg.NoLoopbackListeners {
		if p.loopback, err = localhost.New(localhost.Config{
			Listen: cfg.Limiter.ListenOnly, MaxConnections: httpserver.MaxRelays(), Logger: cfg.Logger,
		}); err != nil {
			return nil, errors.Join(err, p.checks.Close())
		}
		sinks.Loopback = p.loopback
	}
	p.tracker = problems.NewTracker(sinks.Chain(), cfg.Event)
	p.healthHandler = health.Handler(health.Config{
		Proxy: healthy, Eligible: cfg.Eligible,
		InstrumentHealthz: p.requests.InstrumentHealthz, InstrumentLivez: p.requests.InstrumentLivez,
	})
	return p, nil
}

// Sync implements [localsink.Sink].
func (p *Pipeline) Sync(ctx context.Context, u *localsink.Update) error {
	return p.tracker.Sync(ctx, u)
}

// Sinks returns the inner sink, for [localsink.Walk].
func (p *Pipeline) Sinks() []localsink.Sink { return []localsink.Sink{p.tracker} }

// afterFirstSync logs what the first update contained.
func (p *Pipeline) afterFirstSync() {
	if u, _ := p.applied.Applied(); u != nil {
		p.cfg.Logger.Info("Applied first state", "node", u.Node.Name, "services", u.All.Len())
	}
	close(p.synced)
	if p.cfg.AfterFirstSync != nil {
		p.cfg.AfterFirstSync()
	}
}

// RunTakeover waits for the first update and runs Takeover, until ctx is done. It returns
// nil. It is called once.
func (p *Pipeline) RunTakeover(ctx context.Context) error {
	if p.cfg.Takeover == nil {
		return nil
	}
	select {
	case <-p.synced:
		p.cfg.Takeover.Run(ctx)
	case <-ctx.Done():
	}
	return nil
}

func (p *Pipeline) takeoverFailures() uint64 {
	if p.cfg.Takeover == nil {
		return 0
	}
	return p.cfg.Takeover.Failures()
}

// HealthHandler returns the handler of /healthz and /livez.
func (p *Pipeline) HealthHandler() http.Handler { return p.healthHandler }

// StateHandler returns the handler of /state and the pages below it.
func (p *Pipeline) StateHandler() http.Handler {
	return status.Handler(status.Config{
		Applied: p.applied, Problems: p.tracker, Explain: p.cfg.Explain, Connections: connectionCounter(p.cfg.Rules),
		Details: detailer(p.cfg.Rules),
	})
}

// detailer returns a sink inside s that adds details to /state, or nil.
func detailer(s localsink.Sink) status.Detailer {
	for inner := range localsink.Walk(s) {
		if d, ok := inner.(status.Detailer); ok {
			return d
		}
	}
	return nil
}

// connectionCounter returns a sink inside s that counts connections, or nil.
func connectionCounter(s localsink.Sink) localsink.ConnectionCounter {
	for inner := range localsink.Walk(s) {
		if c, ok := inner.(localsink.ConnectionCounter); ok && c.CountsConnections() {
			return c
		}
	}
	return nil
}

// appliedServices yields the Services that are programmed.
func (p *Pipeline) appliedServices() iter.Seq[*localsink.Service] {
	if u, _ := p.applied.Applied(); u != nil {
		return u.All.All()
	}
	return func(func(*localsink.Service) bool) {}
}

// Collectors returns the collectors of the sinks and of the listeners.
func (p *Pipeline) Collectors() []prometheus.Collector {
	all := []prometheus.Collector{
		p.measured, p.requests,
		metrics.NewNotProgrammed(p.tracker.Count),
		metrics.NewTakeover(p.takeoverFailures),
		metrics.NewHTTP(p.cfg.Limiter.Stats),
	}
	if p.loopback != nil {
		all = append(all, metrics.NewLoopback(p.loopback.Stats))
	}
	if p.cfg.CountConnections != "" {
		all = append(all, metrics.NewConnections(metrics.ConnectionsConfig{
			Counter: connectionCounter(p.cfg.Rules), Services: p.appliedServices, Endpoints: p.cfg.CountConnections == countEndpoints,
		}))
	}
	return all
}

// Close closes the listeners of health checks and of loopback addresses.
func (p *Pipeline) Close() error {
	if p.loopback == nil {
		return p.checks.Close()
	}
	return errors.Join(p.loopback.Close(), p.checks.Close())
}
