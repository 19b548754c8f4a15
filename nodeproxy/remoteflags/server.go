// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package remoteflags

import (
	"context"
	"errors"
	"flag"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/nodeproxy/command"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/servertier"
	"sigs.k8s.io/kpng/watchers"
)

// A Server has the flags that state-server and relay share.
type Server struct {
	metrics  string
	verbose  bool
	resolver resolverFlags
	listener listenerFlags
}

// DefineServer defines the flags of a server.
func DefineServer(fs *flag.FlagSet) *Server {
	s := &Server{}
	fs.StringVar(&s.metrics, "metrics", "", "`address` (host:port) that serves /metrics, /livez and /readyz over HTTP; empty disables them")
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
	_, err := s.resolver.config()
	return err
}

// Verbose reports whether to log at level debug.
func (s *Server) Verbose() bool { return s.verbose }

// TokenReview reports whether a client of the API server is needed to authenticate
// clients.
func (s *Server) TokenReview() bool { return s.listener.tokenReview }

// ProxyName returns the name of the proxy whose Services the server serves, "" for
// Services without a name. Its watcher must select the same Services, or more.
func (s *Server) ProxyName() string { return s.resolver.proxyName }

// A ServerConfig has what a server needs beside its flags.
type ServerConfig struct {
	// Name identifies the server in the inspection service, and to its clients.
	Name string
	// Watcher brings the cluster state. Required.
	Watcher watchers.Watcher
	// Client reviews tokens; required with -token-review.
	Client kubernetes.Interface
	// Collectors are served at /metrics beside those of the server.
	Collectors []prometheus.Collector
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
	tier, err := servertier.New(servertier.Config{Name: cfg.Name, Resolver: resolver, Limits: s.listener.serverLimits(), Logger: cfg.Logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tier.Close()) }()
	listener, err := s.listener.listen(ctx, cfg.Client, cfg.Logger)
	if err != nil {
		return err
	}
	handler, err := tier.Handler(append(cfg.Collectors, servertier.NewListener(listener.socket.Stats))...)
	if err != nil {
		return errors.Join(err, listener.socket.Close())
	}
	return command.RunAll(ctx,
		listener.followFiles,
		func(ctx context.Context) error { return tier.Run(ctx, cfg.Watcher, listener.socket, listener.guard) },
		func(ctx context.Context) error {
			return command.Prefix("-metrics", httpserver.Run(ctx, s.metrics, handler, cfg.Logger))
		})
}
