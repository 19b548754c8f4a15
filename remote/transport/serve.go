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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	reflectionalpha "google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"

	"sigs.k8s.io/kpng/remote/internal/codec"
)

// A Service is a gRPC service with a life of its own, such as a node.Server or a
// cluster.Server.
type Service interface {
	// Register registers the service with a gRPC server.
	Register(r grpc.ServiceRegistrar)
	// Ready returns a channel that is closed when the service has its first state.
	Ready() <-chan struct{}
	// Run serves streams until ctx ends; then they end. It is called once.
	Run(ctx context.Context) error
}

// ServeConfig configures [Serve].
type ServeConfig struct {
	// Guard authenticates and authorises calls. Health and reflection are open to every
	// peer: they reveal the protocol and whether this server is ready.
	Guard Guard
	// Limits bound what one peer may cost.
	Limits ServerLimits
	// Register, when not nil, registers further services.
	Register func(r grpc.ServiceRegistrar)
	// Grace is how long calls may take to end after ctx ended. 0 means 5 s.
	Grace time.Duration
	// Logger receives the address that is served; nil is silent.
	Logger *slog.Logger
}

// Serve runs services and serves them on listener until ctx ends; then it returns nil. It
// returns an error earlier when a service or the listener fails. It closes listener.
//
// The health service reports SERVING when all services are ready, and NOT_SERVING before
// that and after ctx ended.
func Serve(ctx context.Context, listener *Listener, cfg ServeConfig, services ...Service) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, healthStatus := newServer(listener, cfg, services)
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
	running.Go(func() { reportReady(ctx, healthStatus, services) })
	start(func() error {
		if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil // stopped before it started
	})
	cfg.Logger.InfoContext(ctx, "Serving gRPC", "address", listener.Addr().String())
	<-ctx.Done()
	healthStatus.Shutdown()
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
	options := append(ServerOptions(cfg.Limits), grpc.Creds(listener.Credentials()), codec.ServerOption(),
		grpc.UnknownServiceHandler(unknownMethod)) // so that the guard counts these calls
	server := grpc.NewServer(append(options, cfg.Guard.ServerOptions(listener)...)...)
	for _, s := range services {
		s.Register(server)
	}
	if cfg.Register != nil {
		cfg.Register(server)
	}
	healthStatus := health.NewServer()
	healthStatus.SetServingStatus("", healthpb.HealthCheckResponse_NOT_SERVING)
	healthpb.RegisterHealthServer(server, healthStatus)
	reflection.Register(server)
	return server, healthStatus
}

func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return status.Errorf(codes.Unimplemented, "unknown method %s", method)
}

// reportReady sets the health status to SERVING when all services are ready.
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

// stopServer lets calls end for the grace period and then cancels them.
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

// AllowNode calls [Allow] for watching a node; it fits node.ServerConfig.Authorize. The
// returned time is zero: the [Guard] ends the stream when the credential expires.
func AllowNode(ctx context.Context, node string) (until time.Time, err error) {
	return time.Time{}, Allow(ctx, Access{Verb: VerbWatchNode, Node: node})
}

// AllowInspect calls [Allow] for inspecting a node, or all nodes when node is empty; it
// fits node.ServerConfig.AuthorizeInspect.
func AllowInspect(ctx context.Context, node string) error {
	return Allow(ctx, Access{Verb: VerbInspect, Node: node})
}

// AllowCluster calls [Allow] for watching the cluster state; it fits
// cluster.ServerConfig.Authorize. The returned time is zero, as for [AllowNode].
func AllowCluster(ctx context.Context) (until time.Time, err error) {
	return time.Time{}, Allow(ctx, Access{Verb: VerbWatchCluster})
}
