// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// capabilities are those of this package's servers and clients. There are no differences
// between two values of a fact: a slice is small.
func capabilities() []kpng.Capability {
	return []kpng.Capability{kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE}
}

// clusterService implements the service that clients watch.
type clusterService struct {
	kpng.UnimplementedClusterServiceServer
	s *Server
}

// WatchCluster serves one client's stream.
func (c clusterService) WatchCluster(grpcStream kpng.ClusterService_WatchClusterServer) error {
	ctx := grpcStream.Context()
	first, err := session.First(grpcStream.Recv, c.s.hub.Limits().HelloTimeout, c.s.ended)
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return session.ErrNoHello()
	}
	var until time.Time
	if c.s.cfg.Authorize != nil {
		if until, err = c.s.cfg.Authorize(ctx); err != nil {
			return err
		}
	}
	class, err := classOf(hello)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return session.Serve(ctx, until, c.s.ready, c.s.ended, func(ctx context.Context) error {
		common := session.Common(hello.GetHello().GetCapabilities(), capabilities())
		log := c.s.cfg.Logger.With("client", session.Cut(hello.GetHello().GetClient(), maxClient))
		if p, ok := peer.FromContext(ctx); ok {
			log = log.With("peer", p.Addr.String())
		}
		log.DebugContext(ctx, "A client watches the facts")
		err := c.s.hub.Serve(ctx, session.Peer(hello.GetHello(), common), &stream{
			Words: session.Words{
				Stream: grpcStream, Server: c.s.cfg.ServerName, Capabilities: common, UnwantedField: fieldUnwanted,
			},
			class: class,
		}, nil)
		log.DebugContext(ctx, "A client has stopped watching the facts", "err", err)
		return err
	})
}

// maxClient is how much is kept of what a client calls itself.
const maxClient = 256

// A stream is one client's, in the words of cluster.proto.
type stream struct {
	session.Words
	class string
}

// Class implements fanout.Wire.
func (s *stream) Class(*state) string { return s.class }

// Own implements fanout.Wire: no client is told what others are not.
func (s *stream) Own(_, _ *state, _ *batch) [][]byte { return nil }

// Acknowledged implements fanout.Wire.
func (s *stream) Acknowledged(fanout.Ack, time.Time) {}
