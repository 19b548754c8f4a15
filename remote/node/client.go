// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// A ClientConfig says which node a client is, and how it works.
type ClientConfig struct {
	// NodeName is the name of the node. Required.
	NodeName string
	// ClientName is what the client calls itself to the server; it is for people.
	ClientName string
	// MinInterval is the least time between the end of one Sync and the beginning of the
	// next. Zero hurries.
	MinInterval time.Duration
	// MaxBackoff bounds the time between attempts at a Sync that fails. Zero means 30 s.
	MaxBackoff time.Duration
	// MaxReconnect bounds the time between attempts to reach a server, which grows from
	// 100 ms, with jitter. Zero means 10 s.
	MaxReconnect time.Duration
	// Logger hears what is of interest to operators; nil is silent.
	Logger *slog.Logger
}

// A Client is one node's end: it feeds a sink with what servers say. What it knows, and
// what the sink has programmed, outlives every disconnect.
type Client struct {
	cfg     ClientConfig
	servers []grpc.ClientConnInterface
	state   *clientState
}

// NewClient returns a client of one or more servers, all of one cluster: connections are
// the caller's, and stay open. When one fails the next is tried. The error names what is
// wrong.
func NewClient(cfg ClientConfig, servers ...grpc.ClientConnInterface) (*Client, error) {
	var err error
	if cfg.NodeName == "" {
		err = errors.Join(err, errors.New("NodeName: required"))
	}
	if len(servers) == 0 {
		err = errors.Join(err, errors.New("there is no server"))
	}
	if cfg.MinInterval < 0 || cfg.MaxBackoff < 0 || cfg.MaxReconnect < 0 {
		err = errors.Join(err, errors.New("MinInterval, MaxBackoff, MaxReconnect: must not be negative"))
	}
	if err != nil {
		return nil, fmt.Errorf("remote: bad ClientConfig: %w", err)
	}
	cfg.MaxReconnect = cmp.Or(cfg.MaxReconnect, 10*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Client{cfg: cfg, servers: servers, state: newClientState(cfg.NodeName)}, nil
}

// Run keeps sink in line with what servers say until ctx is done, and then returns nil.
// The sink hears nothing before a server has said everything: what an earlier process
// left in place keeps working until then. A sink that fails is tried again for ever, and
// so are servers. It is called once.
func (c *Client) Run(ctx context.Context, sink localsink.Sink) error {
	if sink == nil {
		return errors.New("remote: no sink")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.state.lacks = reconciler.Unsupported(sink)
	ended := make(chan struct{})
	go func() { defer close(ended); c.follow(ctx) }()
	defer func() { cancel(); <-ended }()
	select {
	case <-c.state.complete:
	case <-ctx.Done():
		return nil
	}
	return reconciler.Run(ctx, reconciler.NewTracker(c.state.node_()), c.state, sink, reconciler.Config{
		MinInterval: c.cfg.MinInterval, MaxBackoff: c.cfg.MaxBackoff, Logger: c.cfg.Logger, OnSync: c.state.synced,
	})
}

// follow hears one server after the other.
func (c *Client) follow(ctx context.Context) {
	type (
		request = kpng.WatchNodeRequest
		answer  = kpng.WatchNodeResponse
	)
	client := session.Client[*request, *answer]{
		ClientName: c.cfg.ClientName, Capabilities: capabilities(), Servers: c.servers, MaxReconnect: c.cfg.MaxReconnect,
		Open: func(ctx context.Context, server grpc.ClientConnInterface) (session.Stream[*request, *answer], error) {
			return kpng.NewNodeServiceClient(server).WatchNode(ctx)
		},
		Hello: func(h *kpng.Hello) *request {
			return &request{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
				Hello: h, NodeName: c.cfg.NodeName, Unsupported: toFeatures(c.state.lacks),
			}}}
		},
		Held: func(h *kpng.HeldDigests) *request {
			return &request{Message: &kpng.WatchNodeRequest_HeldDigests{HeldDigests: h}}
		},
		Ack:   func(a *kpng.Ack) *request { return &request{Message: &kpng.WatchNodeRequest_Ack{Ack: a}} },
		State: c.state, Acks: c.state.acks,
		Logger: c.cfg.Logger, LostMessage: "Not heard from the server, will try again; Services stay as they are",
	}
	client.Run(ctx)
}
