// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package nodeagent runs the node's end of the gRPC API around any backend: the state that
// servers send is programmed, and served with health, metrics and state pages. It has no
// access to the Kubernetes API, no packet filter, no flags and no signal handling.
//
//	node.Client ─> pipeline.Pipeline ─> /healthz, /metrics, /state
//
// Package pipeline has the order of the sinks.
package nodeagent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
	"sigs.k8s.io/kpng/nodeproxy/pipeline"
)

// A Client delivers the state of one node to a sink: a node.Client of package remote/node.
type Client interface {
	// Run delivers to sink until ctx is done.
	Run(ctx context.Context, sink localsink.Sink) error
}

// A Config configures an agent. Several agents can run in one process.
type Config struct {
	// Client receives the state from servers. Required.
	Client Client
	// Rules programs the packet path. Required.
	Rules localsink.Sink
	// Flows and AfterFirstSync are those of [nodeproxy.Sinks], and may be nil.
	Flows          localsink.Sink
	AfterFirstSync func()
	// Takeover removes the rules of another proxy, after all sinks have applied a first
	// update and beside later ones. It may be nil.
	Takeover pipeline.Takeover
	// NoLoopbackListeners and InterfaceAddrs are those of [pipeline.Config].
	NoLoopbackListeners bool
	InterfaceAddrs      func() ([]net.Addr, error)
	// Collectors are served at /metrics beside those of the agent.
	Collectors []prometheus.Collector
	// HealthAddress serves /healthz and /livez, and OperatorAddress /metrics and /state, over
	// HTTP. Both are HOST:PORT; "" serves nothing.
	HealthAddress, OperatorAddress string
	// HealthTimeout is how long an update may take to be applied before /healthz fails; zero
	// means one minute.
	HealthTimeout time.Duration
	// CountConnections is that of [pipeline.Config].
	CountConnections string
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// An agent is the assembled proxy of one node.
type agent struct {
	cfg      Config
	limiter  *httpserver.Limiter // of all HTTP listeners
	pipeline *pipeline.Pipeline

	operatorHandler http.Handler
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
	a, err := newAgent(cfg) //nolint:contextcheck // Close ends listeners, also when ctx has ended
	if err != nil {
		return err
	}
	return errors.Join(a.run(ctx), a.pipeline.Close()) //nolint:contextcheck // Close ends listeners, also when ctx has ended
}

func newAgent(cfg Config) (*agent, error) {
	a := &agent{cfg: cfg, limiter: httpserver.NewLimiter(httpserver.LimiterConfig{})}
	var err error
	if a.pipeline, err = pipeline.New(pipeline.Config{
		Rules: cfg.Rules, Flows: cfg.Flows, AfterFirstSync: cfg.AfterFirstSync, Takeover: cfg.Takeover,
		NoLoopbackListeners: cfg.NoLoopbackListeners, InterfaceAddrs: cfg.InterfaceAddrs,
		HealthTimeout: cfg.HealthTimeout, CountConnections: cfg.CountConnections, Limiter: a.limiter, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	metricsHandler, err := metrics.Handler(slices.Concat(cfg.Collectors, a.pipeline.Collectors())...)
	if err != nil {
		return nil, errors.Join(err, a.pipeline.Close())
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", metricsHandler)
	mux.Handle("/healthz", httpserver.Text("ok"))
	mux.Handle("/state", a.pipeline.StateHandler())
	mux.Handle("/state/", a.pipeline.StateHandler())
	a.operatorHandler = httpserver.NoSniff(mux)
	return a, nil
}

func (a *agent) run(ctx context.Context) error {
	return command.RunAll(ctx, a.pipeline.RunTakeover,
		func(ctx context.Context) error { return a.cfg.Client.Run(ctx, a.pipeline) },
		func(ctx context.Context) error {
			return command.Prefix("HealthAddress", a.limiter.Run(ctx, a.cfg.HealthAddress, a.pipeline.HealthHandler(), a.cfg.Logger))
		},
		func(ctx context.Context) error {
			return command.Prefix("OperatorAddress", a.limiter.Run(ctx, a.cfg.OperatorAddress, a.operatorHandler, a.cfg.Logger))
		})
}
