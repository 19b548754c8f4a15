// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"

	"sigs.k8s.io/kpng/remote/internal/codec"
)

// A Service is a server of one of the endpoints, such as a remote.Server.
type Service interface {
	// Register registers it with a gRPC server.
	Register(r grpc.ServiceRegistrar)
	// Ready returns a channel that is closed when it has something to tell.
	Ready() <-chan struct{}
	// Run makes it tell until ctx is done; then its streams end.
	Run(ctx context.Context) error
}

// ServeConfig says how to serve.
type ServeConfig struct {
	// Guard says who may call what. Health and reflection are open to everybody: they
	// tell only what is in the protos, and whether this server is ready.
	Guard Guard
	// Limits are what a peer may cost.
	Limits ServerLimits
	// Register, when not nil, registers what else there is.
	Register func(r grpc.ServiceRegistrar)
	// Grace is how long calls may take to end when ctx is done. Zero means 5 s.
	Grace time.Duration
	// Logger hears what is of interest to operators; nil is silent.
	Logger *slog.Logger
}

// Serve runs services and answers for them on listener, which it closes, until ctx is
// done; then it returns nil. It returns early, with an error, when a service or the
// listener fails.
//
// The health service says SERVING when all services are ready, and NOT_SERVING before
// and from the moment that ctx is done.
func Serve(ctx context.Context, listener *Listener, cfg ServeConfig, services ...Service) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, status := newServer(listener, cfg, services)
	var running sync.WaitGroup
	failures := make(chan error, len(services)+1)
	start := func(fn func() error) {
		running.Go(func() {
			if err := fn(); err != nil {
				failures <- err
			}
			cancel()
		})
	}
	for _, s := range services {
		start(func() error { return s.Run(ctx) })
	}
	running.Go(func() { reportReady(ctx, status, services) })
	start(func() error {
		if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil // it was stopped before it began
	})
	cfg.Logger.InfoContext(ctx, "Serving", "address", listener.Addr().String())
	<-ctx.Done()
	status.Shutdown()
	stopServer(server, cmp.Or(cfg.Grace, 5*time.Second))
	running.Wait()
	close(failures)
	var errs []error
	for err := range failures {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func newServer(listener *Listener, cfg ServeConfig, services []Service) (*grpc.Server, *health.Server) {
	cfg.Guard.OpenMethods = append([]string{
		healthpb.Health_ServiceDesc.ServiceName,
		reflectionpb.ServerReflection_ServiceDesc.ServiceName,
		reflectionalpha.ServerReflection_ServiceDesc.ServiceName,
	}, cfg.Guard.OpenMethods...)
	options := append(ServerOptions(cfg.Limits), grpc.Creds(listener.Credentials()), codec.ServerOption())
	server := grpc.NewServer(append(options, cfg.Guard.ServerOptions()...)...)
	for _, s := range services {
		s.Register(server)
	}
	if cfg.Register != nil {
		cfg.Register(server)
	}
	status := health.NewServer()
	status.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(server, status)
	reflection.Register(server)
	return server, status
}

// reportReady tells the health service when all services are ready.
func reportReady(ctx context.Context, status *health.Server, services []Service) {
	for _, s := range services {
		select {
		case <-ctx.Done():
			return
		case <-s.Ready():
		}
	}
	status.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
}

// stopServer lets calls end, but not for ever.
func stopServer(server *grpc.Server, grace time.Duration) {
	ended := make(chan struct{})
	go func() { defer close(ended); server.GracefulStop() }()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		server.Stop()
		<-ended
	}
}

// AllowNode asks the guard whether the peer may watch a node; it is for
// remote.ServerConfig. The guard ends the stream when the peer's credential expires.
func AllowNode(ctx context.Context, node string) (until time.Time, err error) {
	return time.Time{}, Allow(ctx, Access{Verb: VerbWatchNode, Node: node})
}

// AllowInspect asks the guard whether the peer may inspect a node, or all of them when
// it is empty; it is for remote.ServerConfig.
func AllowInspect(ctx context.Context, node string) error {
	return Allow(ctx, Access{Verb: VerbInspect, Node: node})
}

// AllowCluster asks the guard whether the peer may watch the facts of the whole cluster.
func AllowCluster(ctx context.Context) (until time.Time, err error) {
	return time.Time{}, Allow(ctx, Access{Verb: VerbWatchCluster})
}
