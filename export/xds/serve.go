// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"errors"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"sigs.k8s.io/kpng/remote/transport"
)

// maxRequest is the maximum size of a request in bytes: a proxy lists the names of all clusters.
const maxRequest = 4 << 20

// A ServeConfig configures [Sink.Serve].
type ServeConfig struct {
	// Guard authenticates and authorises clients, as for watching the state of a node.
	Guard transport.Guard
	// NodeName is the node that clients must be permitted to watch.
	NodeName string
	// Limits bound what one client may cost. MaxReceiveSize is 4 MiB by default.
	Limits transport.ServerLimits
}

// Serve serves the aggregated discovery service on listener until ctx ends; then it returns nil. It
// closes listener. It may be called several times, also at the same time.
func (s *Sink) Serve(ctx context.Context, listener *transport.Listener, cfg ServeConfig) error {
	if cfg.Limits.MaxReceiveSize == 0 {
		cfg.Limits.MaxReceiveSize = maxRequest
	}
	options := append(transport.ServerOptions(cfg.Limits), grpc.Creds(listener.Credentials()), codecOption())
	server := grpc.NewServer(append(options, cfg.Guard.ServerOptions(listener)...)...)
	service := &ads{sink: s, nodeName: cfg.NodeName}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, service)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	s.cfg.Logger.InfoContext(ctx, "Serving xDS", "address", listener.Addr().String())
	select {
	case err := <-served:
		server.Stop()
		service.running.Wait()
		return err
	case <-ctx.Done():
	}
	server.Stop() // streams of clients do not end by themselves
	service.running.Wait()
	if err := <-served; !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}
