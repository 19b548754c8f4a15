// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"sigs.k8s.io/kpng/remote/transport"
)

// A stream is the connection of one client. The mutex of the sink guards the fields below it.
type stream struct {
	incremental bool
	wake        chan struct{} // receives when there may be a response to send

	ended         bool
	client        string // the client's name of itself
	nonces        uint64
	subscriptions [kinds]subscription
}

// notify wakes the sender of the stream.
func (st *stream) notify() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

func (st *stream) newNonce() string {
	st.nonces++
	return strconv.FormatUint(st.nonces, 10)
}

const maxClient = 253 // bytes of the name of a client

// identify sets the name of the client. Only the first request of a stream must have it.
func (st *stream) identify(node *corev3.Node) {
	if id := node.GetId(); id != "" && st.client == "" {
		st.client = strings.ToValidUTF8(id[:min(len(id), maxClient)], "")
	}
}

// An ads is the discovery service of a sink.
type ads struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	sink     *Sink
	nodeName string
	running  sync.WaitGroup // receivers of streams
}

// StreamAggregatedResources serves the SotW protocol.
func (a *ads) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return a.serve(s, &stream{}, func(ctx context.Context, st *stream) error {
		req, err := s.Recv()
		if err != nil {
			return err
		}
		return a.sink.completeRequest(ctx, st, req)
	})
}

// DeltaAggregatedResources serves the incremental protocol.
func (a *ads) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return a.serve(s, &stream{incremental: true}, func(ctx context.Context, st *stream) error {
		req, err := s.Recv()
		if err != nil {
			return err
		}
		return a.sink.incrementalRequest(ctx, st, req)
	})
}

// serve sends responses until the stream ends. receive processes one request.
func (a *ads) serve(s grpc.ServerStream, st *stream, receive func(ctx context.Context, st *stream) error) error {
	ctx := s.Context()
	if err := transport.Allow(ctx, transport.Access{Verb: transport.VerbWatchNode, Node: a.nodeName}); err != nil {
		return err
	}
	st.wake = make(chan struct{}, 1)
	a.sink.begin(st)
	defer a.sink.end(st)
	received := make(chan error, 1)
	a.running.Go(func() {
		for {
			if err := receive(ctx, st); err != nil {
				received <- err
				return
			}
		}
	})
	for {
		for m := a.sink.next(st); m != nil; m = a.sink.next(st) {
			if err := s.SendMsg(m); err != nil {
				return err
			}
		}
		select {
		case <-st.wake:
		case <-ctx.Done(): // also when the token of the client expires, which Recv does not notice
			return context.Cause(ctx)
		case err := <-received:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// begin adds a stream.
func (s *Sink) begin(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[st] = struct{}{}
	s.stats.Opened++
}
