// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/reconciler"
	"sigs.k8s.io/kpng/remote/internal/nodestate"
	"sigs.k8s.io/kpng/remote/internal/protoconv"
	"sigs.k8s.io/kpng/remote/internal/session"
)

// A ClientConfig configures a [Client].
type ClientConfig struct {
	// NodeName is the name of the node. Required.
	NodeName string
	// AssumedIPs are the addresses of the node, the primary one first, which the server uses
	// while the cluster has no Node object of that name and the client has not received one.
	AssumedIPs []netip.Addr
	// ClientName identifies the program and its version to the server, for display only.
	ClientName string
	// MinInterval is the minimum time between the end of one Sync and the start of the
	// next. 0 means no pause.
	MinInterval time.Duration
	// MaxBackoff bounds the pause between attempts of a Sync that fails. 0 means 30 s.
	MaxBackoff time.Duration
	// MaxReconnect bounds the pause between attempts at the same server, which starts at
	// 100 ms and doubles, with jitter. 0 means 10 s. While a server cannot be reached at all,
	// the pause is at most 1 s, because such attempts do not burden the server.
	MaxReconnect time.Duration
	// RebalanceInterval is the mean time between two checks whether a preferred server is
	// available again; the client then moves there. Each client prefers its servers in a
	// random order, so that clients spread evenly over them. 0 means 1 min, a negative value
	// no checks.
	RebalanceInterval time.Duration
	// Logger receives lost and restored connections and failed Syncs; nil discards them.
	Logger *slog.Logger
}

// A Client receives the desired state of one node and drives a sink with it. Received
// state and what the sink has programmed survive disconnects.
type Client struct {
	cfg     ClientConfig
	servers []grpc.ClientConnInterface
	state   *clientState
}

// NewClient returns a client of one or more servers of the same cluster. If a server fails,
// the client continues with another one. The caller owns the connections and closes them
// after Run has returned. An error names the invalid field of cfg.
func NewClient(cfg ClientConfig, servers ...grpc.ClientConnInterface) (*Client, error) {
	var err error
	if cfg.NodeName == "" {
		err = errors.Join(err, errors.New("NodeName: required"))
	}
	if len(servers) == 0 {
		err = errors.Join(err, errors.New("servers: at least one is required"))
	}
	var assumed []netip.Addr
	for i, ip := range cfg.AssumedIPs {
		switch {
		case !ip.IsValid():
			err = errors.Join(err, fmt.Errorf("AssumedIPs[%d]: not an address", i))
		case ip.Zone() != "" || ip.IsUnspecified() || ip.IsMulticast():
			err = errors.Join(err, fmt.Errorf("AssumedIPs[%d]: %s is a zoned, unspecified or multicast address", i, ip))
		}
		assumed = append(assumed, ip.Unmap())
	}
	if cfg.MinInterval < 0 || cfg.MaxBackoff < 0 || cfg.MaxReconnect < 0 {
		err = errors.Join(err, errors.New("MinInterval, MaxBackoff, MaxReconnect: must not be negative"))
	}
	if err != nil {
		return nil, fmt.Errorf("node: invalid ClientConfig: %w", err)
	}
	cfg.MaxReconnect = cmp.Or(cfg.MaxReconnect, 10*time.Second)
	cfg.RebalanceInterval = cmp.Or(cfg.RebalanceInterval, time.Minute)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	state := newClientState(cfg.NodeName)
	if len(assumed) > 0 {
		state.known = &kpng.Node{Name: protoconv.Text(cfg.NodeName), Ips: nodestate.Addrs(assumed)}
	}
	return &Client{cfg: cfg, servers: servers, state: state}, nil
}

// Run applies the desired state of the node to sink until ctx ends, and then returns nil.
// The first Sync follows the first complete state of a server; until then, what an earlier
// process has programmed stays in place. Failed Syncs and lost connections are retried
// without limit. Run must be called at most once.
func (c *Client) Run(ctx context.Context, sink localsink.Sink) error {
	if sink == nil {
		return errors.New("node: sink: required")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.state.unsupported = reconciler.Unsupported(sink)
	ended := make(chan struct{})
	go func() { defer close(ended); c.watch(ctx) }()
	defer func() { cancel(); <-ended }()
	select {
	case <-c.state.complete:
	case <-ctx.Done():
		return nil
	}
	return reconciler.Run(ctx, reconciler.NewTracker(c.state.node()), c.state, sink, reconciler.Config{
		MinInterval: c.cfg.MinInterval, MaxBackoff: c.cfg.MaxBackoff, Logger: c.cfg.Logger, OnSync: c.state.synced,
	})
}

// watch receives from one server at a time until ctx ends.
func (c *Client) watch(ctx context.Context) {
	type (
		request  = kpng.WatchNodeRequest
		response = kpng.WatchNodeResponse
	)
	client := session.Client[*request, *response]{
		ClientName: c.cfg.ClientName, Capabilities: capabilities(), Servers: c.servers,
		MaxReconnect: c.cfg.MaxReconnect, RebalanceInterval: c.cfg.RebalanceInterval,
		Open: func(ctx context.Context, server grpc.ClientConnInterface) (session.Stream[*request, *response], error) {
			return kpng.NewNodeServiceClient(server).WatchNode(ctx)
		},
		Hello: func(h *kpng.Hello) *request {
			return &request{Message: &kpng.WatchNodeRequest_Hello{Hello: &kpng.NodeHello{
				Hello: h, NodeName: c.cfg.NodeName, Unsupported: toFeatures(c.state.unsupported),
				KnownNode: c.state.knownNode(),
			}}}
		},
		Held: func(h *kpng.HeldDigests) *request {
			return &request{Message: &kpng.WatchNodeRequest_HeldDigests{HeldDigests: h}}
		},
		Ack:   func(a *kpng.Ack) *request { return &request{Message: &kpng.WatchNodeRequest_Ack{Ack: a}} },
		State: c.state, Acks: c.state.acks,
		Logger: c.cfg.Logger, LostMessage: "Server connection failed, retrying; programmed Services are kept",
	}
	client.Run(ctx)
}
