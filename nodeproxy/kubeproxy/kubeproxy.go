// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeproxy runs a drop-in replacement for kube-proxy around any backend: with the
// endpoints, metrics and events that operators of kube-proxy expect. It has no packet
// filter, no flags and no signal handling.
//
//	kube.Watcher ─> store ─> nodelocal ─> pipeline.Pipeline ─> events, /healthz, /metrics, /state
//
// Package pipeline has the order of the sinks.
package kubeproxy

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/events"
	"sigs.k8s.io/kpng/nodeproxy/health"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/kubeproxyconfig"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
	"sigs.k8s.io/kpng/nodeproxy/nodeips"
	"sigs.k8s.io/kpng/nodeproxy/pipeline"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A Config configures a proxy. Several proxies can run in one process.
type Config struct {
	// Settings are those of kube-proxy. Required.
	Settings *kubeproxyconfig.Config
	// Client connects to the API server. Required.
	Client kubernetes.Interface
	// Rules programs the packet path. Required.
	Rules localsink.Sink
	// Mode is the proxy mode at /proxyMode; empty means that of Settings.
	Mode string
	// Flows and AfterFirstSync are those of [nodeproxy.Sinks], and may be nil.
	Flows          localsink.Sink
	AfterFirstSync func()
	// Extend attaches extensions to the objects of the API server, which Rules and Flows read;
	// nil attaches none.
	Extend kubeapi.Extend
	// Policy, Scope and NoMasquerade are those of [nodelocal.Config], which kube-proxy's
	// settings do not have. The zero values change nothing.
	Policy       nodelocal.Policy
	Scope        nodelocal.Scope
	NoMasquerade []netip.Prefix
	// NoLoopbackListeners and InterfaceAddrs are those of [pipeline.Config].
	NoLoopbackListeners bool
	InterfaceAddrs      func() ([]net.Addr, error)
	// Takeover removes the rules of another proxy, after all sinks have applied a first
	// update and beside later ones. It may be nil.
	Takeover pipeline.Takeover
	// Collectors are served at /metrics beside those of the proxy.
	Collectors []prometheus.Collector
	// SetVerbosity changes the verbosity of the log to the number in a text, for
	// /debug/flags/v; nil leaves that out. It is called from any goroutine.
	SetVerbosity func(level string) error
	// Limiter bounds the descriptors of all HTTP listeners; nil means one with defaults.
	// Several proxies of one process share one.
	Limiter *httpserver.Limiter
	// Version is that of the program; it is logged, and at /statusz and /metrics.
	Version string
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// A proxy is the assembled proxy of one node.
type proxy struct {
	cfg      Config
	logger   *slog.Logger
	store    *watchers.Store
	watcher  watchers.Watcher
	recorder *events.Recorder
	pipeline *pipeline.Pipeline
	known    nodelocal.KnownNode

	operatorHandler http.Handler
}

// Run runs a proxy until ctx is done; then it returns nil, and the rules stay in place. It
// returns an error if cfg is invalid or the cluster cannot be watched; HTTP addresses that
// are in use are retried, unless bindAddressHardFail is set. Everything that it started has
// ended when it returns. It may be called again. The sinks of cfg remain the caller's.
func Run(ctx context.Context, cfg Config) (err error) {
	switch {
	case cfg.Settings == nil:
		return errors.New("kubeproxy: Settings: required")
	case cfg.Client == nil:
		return errors.New("kubeproxy: Client: required")
	case cfg.Rules == nil:
		return errors.New("kubeproxy: Rules: required")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	recorder := events.Start(ctx, cfg.Client, "kube-proxy")
	defer func() { err = errors.Join(err, recorder.Close()) }()
	p, err := newProxy(cfg, recorder) //nolint:contextcheck // Close ends listeners, also when ctx has ended
	if err != nil {
		return err
	}
	return errors.Join(p.run(ctx), p.pipeline.Close()) //nolint:contextcheck // Close ends listeners, also when ctx has ended
}

func newProxy(cfg Config, recorder *events.Recorder) (*proxy, error) {
	p := &proxy{cfg: cfg, logger: cfg.Logger, store: watchers.NewStore(), recorder: recorder}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	p.cfg.Mode = cmp.Or(cfg.Mode, cfg.Settings.Mode())
	if p.cfg.Limiter == nil {
		p.cfg.Limiter = httpserver.NewLimiter(httpserver.LimiterConfig{})
	}
	var err error
	watch := cfg.Settings.Kube(p.logger)
	watch.Extend = cfg.Extend
	if p.watcher, err = kube.New(cfg.Client, watch); err != nil {
		return nil, err
	}
	if p.pipeline, err = pipeline.New(pipeline.Config{
		Rules: cfg.Rules, Flows: cfg.Flows, AfterFirstSync: cfg.AfterFirstSync, Takeover: cfg.Takeover,
		NoLoopbackListeners: cfg.NoLoopbackListeners, InterfaceAddrs: cfg.InterfaceAddrs,
		HealthTimeout: cfg.Settings.HealthTimeout(), Eligible: p.eligible, Event: recorder.ServiceWarning, Explain: p.explain,
		CountConnections: cfg.Settings.CountConnections(), Limiter: p.cfg.Limiter, Logger: p.logger,
	}); err != nil {
		return nil, err
	}
	metricsHandler, err := metrics.Handler(slices.Concat(cfg.Collectors, p.pipeline.Collectors(), p.collectors())...)
	if err != nil {
		return nil, errors.Join(err, p.pipeline.Close())
	}
	p.operatorHandler = p.newOperatorHandler(metricsHandler, p.pipeline.StateHandler())
	return p, nil
}

func (p *proxy) run(ctx context.Context) error {
	settings := p.cfg.Settings
	p.logger.InfoContext(ctx, "Starting proxy", "node", settings.NodeName(), "mode", p.cfg.Mode, "version", p.cfg.Version)
	p.recorder.ProxyStarting(settings.NodeName())
	return command.RunAll(ctx,
		func(ctx context.Context) error {
			return p.serve(ctx, settings.HealthzAddress(), p.pipeline.HealthHandler())
		},
		func(ctx context.Context) error {
			return p.serve(ctx, settings.MetricsAddress(), p.operatorHandler)
		},
		func(ctx context.Context) error { return p.watcher.Run(ctx, p.store) },
		p.pipeline.RunTakeover,
		p.follow)
}

// follow keeps the sinks up to date with the store.
func (p *proxy) follow(ctx context.Context) error {
	nodeips.Assume(ctx, p.store, p.cfg.Settings.NodeName(), &p.known, p.logger)
	return nodelocal.Follow(ctx, p.store, p.pipeline, p.nodelocal())
}

// nodelocal returns how Services are resolved.
func (p *proxy) nodelocal() nodelocal.Config {
	cfg := p.cfg.Settings.Nodelocal(p.logger)
	cfg.KnownNode = &p.known
	cfg.Policy, cfg.Scope, cfg.NoMasquerade = p.cfg.Policy, p.cfg.Scope, p.cfg.NoMasquerade
	return cfg
}

// serve serves HTTP until ctx is done. With bindAddressHardFail an error ends the proxy.
func (p *proxy) serve(ctx context.Context, address string, h http.Handler) error {
	if p.cfg.Settings.BindAddressHardFail() {
		return p.cfg.Limiter.Run(ctx, address, h, p.logger)
	}
	return p.cfg.Limiter.RunRetrying(ctx, address, h, p.logger)
}

func (p *proxy) eligible() bool {
	return health.NodeEligible(p.store.Snapshot().Node(p.cfg.Settings.NodeName()))
}

func (p *proxy) explain(name localsink.ServiceName) (*nodelocal.Explanation, error) {
	return nodelocal.Explain(p.store.Snapshot(), p.nodelocal(), name)
}
