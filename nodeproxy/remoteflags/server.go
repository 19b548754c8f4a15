// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// A Server has the flags of a server, whether its cluster state comes from an API server or, as
// that of a relay, from servers.
type Server struct {
	metrics  string
	state    string
	verbose  bool
	resolver resolverFlags
	listener listenerFlags
}

// DefineServer defines the flags of a server.
func DefineServer(fs *flag.FlagSet) *Server {
	s := &Server{}
	fs.StringVar(&s.metrics, "metrics", "", "`address` (host:port) that serves /metrics, /livez and /readyz over HTTP; empty disables them")
	fs.StringVar(&s.state, "state", "",
		"loopback `address` (host:port) that serves /state over HTTP without authentication, to browsers too; empty disables it")
	fs.BoolVar(&s.verbose, "v", false, "log debug messages")
	s.resolver.define(fs)
	s.listener.define(fs)
	return s
}

// Validate returns an error that names each invalid flag. It is called once the flags are
// parsed.
func (s *Server) Validate() error {
	if err := s.listener.validate(); err != nil {
		return err
	}
	if s.state != "" && !isLoopback(s.state) {
		return fmt.Errorf("%w: -state %q: must be a loopback address, because it serves the state of the cluster without authentication", command.ErrUsage, s.state)
	}
	_, err := s.resolver.config()
	return err
}

// Verbose reports whether to log at level debug.
func (s *Server) Verbose() bool { return s.verbose }

// TokenReview reports whether a client of the API server is needed to authenticate
// clients.
func (s *Server) TokenReview() bool { return s.listener.tokenReview }

// Metrics returns the address of -metrics.
func (s *Server) Metrics() string { return s.metrics }

// Resolver returns how the flags resolve Services, for all nodes.
func (s *Server) Resolver() (nodelocal.MultiNodeConfig, error) { return s.resolver.config() }

// ProxyName returns the name of the proxy whose Services the server serves, "" for
// Services without a name. Its watcher must select the same Services, or more.
func (s *Server) ProxyName() string { return s.resolver.proxyName }

// A ServerConfig has what a server needs beside its flags.
type ServerConfig struct {
	// Name identifies the server in the inspection service, and to its clients.
	Name string
	// Watcher brings the cluster state. Required without Store.
	Watcher watchers.Watcher
	// Store, if not nil, is served instead of what Watcher brings: the caller fills it.
	Store *watchers.Store
	// Listen, if not empty, replaces the address of -listen.
	Listen string
	// NoMetrics ignores -metrics and -state, for further servers of a process.
	NoMetrics bool
	// Services selects what is served; zero means everything.
	Services servertier.Services
	// Client reviews tokens; required with -token-review.
	Client kubernetes.Interface
	// Collectors are served at /metrics beside those of the server.
	Collectors []prometheus.Collector
	// Beside, if not nil, returns what runs beside the server, such as a readiness.Controller.
	Beside func(nodes *node.Server) (run func(ctx context.Context) error, err error)
	// Logger receives what operators need to know; nil is silent.
	Logger *slog.Logger
}

// Run serves as the flags describe, until ctx is done; then it returns nil. It may be
// called again.
func (s *Server) Run(ctx context.Context, cfg ServerConfig) (err error) {
	resolver, err := s.resolver.config()
	if err != nil {
		return err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	metrics, state := s.metrics, s.state
	if cfg.NoMetrics {
		metrics, state = "", ""
	}
	if state != "" && cfg.Services != 0 && cfg.Services&servertier.ServicesNodes == 0 {
		return fmt.Errorf("%w: -state: the server does not serve nodes", command.ErrUsage)
	}
	tier, err := servertier.New(servertier.Config{
		Name: cfg.Name, Resolver: resolver, Store: cfg.Store, Services: cfg.Services, Limits: s.listener.serverLimits(), Logger: cfg.Logger,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tier.Close()) }()
	beside := func(context.Context) error { return nil }
	if cfg.Beside != nil {
		if beside, err = cfg.Beside(tier.Nodes()); err != nil {
			return err
		}
	}
	listener, err := s.listener.listen(ctx, cfg.Listen, cfg.Client, cfg.Logger)
	if err != nil {
		return err
	}
	handler, err := tier.Handler(append(cfg.Collectors, servertier.NewListener(listener.socket.Stats))...)
	if err != nil {
		return errors.Join(err, listener.socket.Close())
	}
	return command.RunAll(ctx,
		listener.followFiles, beside,
		func(ctx context.Context) error { return tier.Run(ctx, cfg.Watcher, listener.socket, listener.guard) },
		func(ctx context.Context) error {
			return command.Prefix("-metrics", httpserver.Run(ctx, metrics, handler, cfg.Logger))
		},
		func(ctx context.Context) error {
			return command.Prefix("-state", httpserver.Run(ctx, state, tier.StateHandler(), cfg.Logger))
		})
}
