// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodeagent runs the node's end of the gRPC API around any backend: the state that
// servers send is programmed, and served with health, metrics and state pages. It has no
// access to the Kubernetes API, no packet filter, no flags and no signal handling.
//
// From the servers to the node, and what observes each step:
//
//	node.Client ─> problems.Tracker ─────────────> metrics, /state
//	                problems.Reporter ───────────> log
//	                health.EligibilitySink ──────> /healthz, /livez
//	                  healthcheck.Proxy ─────────> /healthz, /livez
//	                    metrics.Sink ────────────> /metrics
//	                      status.AppliedSink ────> /state
//	                        Rules (the backend)
//	                health checks, loopback, Flows
package nodeagent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/health"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
	"sigs.k8s.io/kpng/nodeproxy/problems"
	"sigs.k8s.io/kpng/nodeproxy/status"
)

// A Client delivers the state of one node to a sink: a node.Client of package remote/node.
type Client interface {
	// Run delivers to sink until ctx is done.
	Run(ctx context.Context, sink localsink.Sink) error
}

// verifyInterval is well below five minutes, the age of the last sync at which operators of
// kube-proxy are alerted.
const verifyInterval = time.Minute

// A Config configures an agent. Several agents can run in one process.
type Config struct {
	// Client receives the state from servers. Required.
	Client Client
	// Rules programs the packet path. Required.
	Rules localsink.Sink
	// Flows and AfterFirstSync are those of [nodeproxy.Sinks], and may be nil.
	Flows          localsink.Sink
	AfterFirstSync func()
	// HealthAddress serves /healthz and /livez, and OperatorAddress /metrics and /state, over
	// HTTP. Both are HOST:PORT; "" serves nothing.
	HealthAddress, OperatorAddress string
	// HealthTimeout is how long an update may take to be applied before /healthz fails; zero
	// means one minute.
	HealthTimeout time.Duration
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// An agent is the assembled proxy of one node.
type agent struct {
	cfg      Config
	logger   *slog.Logger
	limiter  *httpserver.Limiter // of all HTTP listeners
	checks   *healthcheck.Services
	loopback *localhost.Sink
	sink     *problems.Tracker

	healthHandler, operatorHandler http.Handler
}

// Run runs an agent until ctx is done; then it returns nil, and the rules stay in place. It
// returns an error if cfg is invalid or an address cannot be served; the error of an
// address names its field. Everything that it started has ended when it returns. It may be
// called again. The client and the sinks of cfg remain the caller's.
func Run(ctx context.Context, cfg Config) error {
	switch {
	case cfg.Client == nil:
		return errors.New("nodeagent: Client: required")
	case cfg.Rules == nil:
		return errors.New("nodeagent: Rules: required")
	}
	a, err := newAgent(cfg)
	if err != nil {
		return err
	}
	return errors.Join(a.run(ctx), a.close())
}

func newAgent(cfg Config) (*agent, error) {
	if cfg.HealthTimeout == 0 {
		cfg.HealthTimeout = time.Minute
	}
	a := &agent{cfg: cfg, logger: cfg.Logger, limiter: httpserver.NewLimiter(httpserver.LimiterConfig{})}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	applied := status.NewAppliedSink(cfg.Rules)
	measured := metrics.NewSink(applied, metrics.SinkConfig{VerifyInterval: verifyInterval})
	healthy, err := healthcheck.NewProxy(measured, cfg.HealthTimeout)
	if err != nil {
		return nil, err
	}
	eligibility := health.NewEligibilitySink(healthy)
	if a.checks, err = healthcheck.NewServices(healthcheck.Config{
		Healthy: healthy.Healthy, Listen: a.limiter.Listen, ErrorLog: httpserver.ErrorLog(a.logger), Logger: a.logger,
	}); err != nil {
		return nil, err
	}
	if a.loopback, err = localhost.New(localhost.Config{
		Listen: a.limiter.ListenOnly, MaxConnections: httpserver.MaxRelays(), Logger: a.logger,
	}); err != nil {
		return nil, errors.Join(err, a.checks.Close())
	}
	a.sink = problems.NewTracker(nodeproxy.Sinks{
		Problems:       problems.NewReporter(a.logger, nil),
		Rules:          eligibility,
		HealthChecks:   a.checks,
		Loopback:       a.loopback,
		Flows:          cfg.Flows,
		AfterFirstSync: a.afterFirstSync(applied),
	}.Chain(), nil)

	requests := metrics.NewHealthRequests()
	a.healthHandler = health.Handler(health.Config{
		Proxy: healthy, Eligible: eligibility.Eligible,
		InstrumentHealthz: requests.InstrumentHealthz, InstrumentLivez: requests.InstrumentLivez,
	})
	metricsHandler, err := metrics.Handler(measured, requests, metrics.NewNotProgrammed(a.sink.Count), metrics.NewLoopback(a.loopback.Stats),
		metrics.NewHTTP(a.limiter.Stats))
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	stateHandler := status.Handler(status.Config{Applied: applied, Problems: a.sink})
	mux := http.NewServeMux()
	mux.Handle("/metrics", metricsHandler)
	mux.Handle("/healthz", httpserver.Text("ok"))
	mux.Handle("/state", stateHandler)
	mux.Handle("/state/", stateHandler)
	a.operatorHandler = mux
	return a, nil
}

// afterFirstSync returns a function that logs what the first update contained, before it
// calls that of the Config.
func (a *agent) afterFirstSync(applied *status.AppliedSink) func() {
	return func() {
		if u, _ := applied.Applied(); u != nil {
			a.logger.Info("Applied first state", "node", u.Node.Name, "services", u.All.Len())
		}
		if a.cfg.AfterFirstSync != nil {
			a.cfg.AfterFirstSync()
		}
	}
}

func (a *agent) close() error { return errors.Join(a.loopback.Close(), a.checks.Close()) }

func (a *agent) run(ctx context.Context) error {
	return command.RunAll(ctx,
		func(ctx context.Context) error { return a.cfg.Client.Run(ctx, a.sink) },
		func(ctx context.Context) error {
			return command.Prefix("HealthAddress", a.limiter.Run(ctx, a.cfg.HealthAddress, a.healthHandler, a.logger))
		},
		func(ctx context.Context) error {
			return command.Prefix("OperatorAddress", a.limiter.Run(ctx, a.cfg.OperatorAddress, a.operatorHandler, a.logger))
		})
}
