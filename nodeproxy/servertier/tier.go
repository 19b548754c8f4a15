// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package servertier runs one server of a tier: cluster state from a watcher, served to
// nodes and relays behind one gRPC listener. It has no flags and reads no files.
//
//	watcher ─> store ─┬─> NodeService and InspectService ─┐
//	                  └─> ClusterService ─────────────────┴─> one listener
//
// Servers of a tier are equal and independent of each other.
package servertier

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/node/nodemetrics"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// A Config configures a Tier.
type Config struct {
	// Name identifies the server to its clients; it is for people.
	Name string
	// Resolver configures how Services are resolved for all nodes.
	Resolver nodelocal.MultiNodeConfig
	// Store, if not nil, is served: its owner fills it, and Run gets no watcher.
	Store *watchers.Store
	// Services selects what Run serves; zero means everything.
	Services Services
	// Limits bound what one client may cost.
	Limits transport.ServerLimits
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// Services are the services of a Tier.
type Services uint8

const (
	// ServicesNodes are NodeService and InspectService.
	ServicesNodes Services = 1 << iota
	// ServicesClusters is ClusterService.
	ServicesClusters
)

// A Tier is one server of a tier.
type Tier struct {
	cfg       Config
	store     *watchers.Store
	nodes     *node.Server
	clusters  *cluster.Server
	latencies *nodemetrics.Latencies
}

// New returns a Tier, which must be closed. The error names the invalid field of cfg.
func New(cfg Config) (*Tier, error) {
	if cfg.Services == 0 {
		cfg.Services = ServicesNodes | ServicesClusters
	}
	t := &Tier{cfg: cfg, store: cfg.Store, latencies: nodemetrics.NewLatencies()}
	if t.store == nil {
		t.store = watchers.NewStore()
	}
	var err error
	if t.nodes, err = node.NewServer(t.store, node.ServerConfig{
		Resolver: cfg.Resolver, Authorize: transport.AllowNode, AuthorizeInspect: transport.AllowInspect,
		OnAcknowledge: t.latencies.Observe, ServerName: cfg.Name, Logger: cfg.Logger,
	}); err != nil {
		return nil, err
	}
	if t.clusters, err = cluster.NewServer(t.store, cluster.ServerConfig{
		Authorize: transport.AllowCluster, ServerName: cfg.Name, Logger: cfg.Logger,
	}); err != nil {
		return nil, errors.Join(err, t.nodes.Close())
	}
	return t, nil
}

// Close releases the store.
func (t *Tier) Close() error {
	return errors.Join(t.nodes.Close(), t.clusters.Close())
}

// Nodes returns the NodeService server, for programs that act on what nodes have applied.
func (t *Tier) Nodes() *node.Server { return t.nodes }

// Handler returns a handler of /metrics, /livez and /readyz. /metrics has the given
// collectors beside those of the server, which are about nodes; /readyz is 200 when the cluster
// state is complete.
func (t *Tier) Handler(collectors ...prometheus.Collector) (http.Handler, error) {
	ready := t.clusters.Ready()
	if t.cfg.Services&ServicesNodes != 0 {
		ready = t.nodes.Ready()
		collectors = append(collectors, t.latencies, nodemetrics.NewNodes(t.nodes))
	}
	metricsHandler, err := metrics.Handler(collectors...)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", metricsHandler)
	mux.Handle("/livez", httpserver.Text("ok\n"))
	mux.Handle("/readyz", httpserver.Ready("the cluster state is not complete yet", ready))
	return mux, nil
}

// Run serves what watcher brings on listener, which it closes, until ctx is done; then it
// returns nil. watcher is nil with [Config].Store. guard authenticates and authorizes clients. It is
// called once.
func (t *Tier) Run(ctx context.Context, watcher watchers.Watcher, listener *transport.Listener, guard transport.Guard) error {
	if watcher == nil {
		watcher = watchers.Func(func(context.Context, *watchers.Store) error { return nil })
	}
	return command.RunAll(ctx,
		func(ctx context.Context) error { return watcher.Run(ctx, t.store) },
		func(ctx context.Context) error {
			cfg := transport.ServeConfig{Guard: guard, Limits: t.cfg.Limits, Logger: t.cfg.Logger}
			var served []transport.Service
			if t.cfg.Services&ServicesNodes != 0 {
				cfg.Register = t.nodes.RegisterInspect
				served = append(served, t.nodes)
			}
			if t.cfg.Services&ServicesClusters != 0 {
				served = append(served, t.clusters)
			}
			return transport.Serve(ctx, listener, cfg, served...)
		})
}
