// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/fanout"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// capabilities returns those of this package's servers and clients. There are no deltas,
// because objects are small.
func capabilities() []kpng.Capability {
	return []kpng.Capability{
		kpng.Capability_CAPABILITY_RESUME, kpng.Capability_CAPABILITY_ACKNOWLEDGE, kpng.Capability_CAPABILITY_ORIGINS,
	}
}

// clusterService implements ClusterService.
type clusterService struct {
	kpng.UnimplementedClusterServiceServer
	server *Server
}

// WatchCluster implements ClusterService.
func (c clusterService) WatchCluster(grpcStream kpng.ClusterService_WatchClusterServer) error {
	ctx := grpcStream.Context()
	first, err := session.ReceiveFirst(grpcStream.Recv, c.server.hub.Limits().HelloTimeout, c.server.ended)
	if err != nil {
		return err
	}
	hello := first.GetHello()
	if hello == nil {
		return session.NoHelloError()
	}
	var until time.Time
	if c.server.cfg.Authorize != nil {
		if until, err = c.server.cfg.Authorize(ctx); err != nil {
			return err
		}
	}
	common := session.CommonCapabilities(hello.GetHello().GetCapabilities(), capabilities())
	selector, err := selectorOf(hello, slices.Contains(common, kpng.Capability_CAPABILITY_ORIGINS))
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return session.Serve(ctx, until, c.server.ready, c.server.ended, func(ctx context.Context) error {
		log := c.server.cfg.Logger.With("client", session.Truncate(hello.GetHello().GetClient(), maxClientName))
		if p, ok := peer.FromContext(ctx); ok {
			log = log.With("peer", p.Addr.String())
		}
		log.DebugContext(ctx, "Client stream started")
		err := c.server.hub.Serve(ctx, session.Peer(hello.GetHello(), common), &stream{
			ServerStream: session.ServerStream{
				Stream: grpcStream, ServerName: c.server.cfg.ServerName, Capabilities: common, RemovedField: fieldRemovedDigests,
			},
			selector: selector,
		}, nil)
		log.DebugContext(ctx, "Client stream ended", "err", err)
		return err
	})
}

// maxClientName bounds the logged part of Hello.client, in bytes.
const maxClientName = 256

// A stream is the stream of one client, as a fanout.Conn.
type stream struct {
	session.ServerStream
	selector string
}

// Class implements fanout.Conn.
func (s *stream) Class(*state) string { return s.selector }

// Overlay implements fanout.Conn. No part of an update is specific to one client.
func (s *stream) Overlay(_, _ *state, _ *batch) [][]byte { return nil }

// Acknowledged implements fanout.Conn.
func (s *stream) Acknowledged(fanout.Ack, time.Time) {}
