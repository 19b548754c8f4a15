// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/remote/internal/session"
	"sigs.k8s.io/kpng/watchers"
)

// A ClientConfig says what a client wants to know, and how it works. The zero value wants
// what a cluster's ordinary proxy does.
type ClientConfig struct {
	// Namespaces, if there are any, are those whose Services and EndpointSlices are wanted.
	Namespaces []string
	// ProxyName is the value of the label service.kubernetes.io/service-proxy-name that the
	// Services of this proxy have; "" stands for Services without that label.
	ProxyName string
	// AllProxies takes in the Services of all proxies. ProxyName must be empty then.
	AllProxies bool
	// ClientName is what the client calls itself to the server; it is for people.
	ClientName string
	// MaxReconnect bounds the time between attempts to reach a server, which grows from
	// 100 ms, with jitter. Zero means 10 s.
	MaxReconnect time.Duration
	// Logger hears what is of interest to operators; nil is silent.
	Logger *slog.Logger
}

// A Client is a [watchers.Watcher] of what servers say.
type Client struct {
	cfg     ClientConfig
	hello   *kpng.ClusterHello // without what all streams begin with
	servers []grpc.ClientConnInterface
	state   *objectState // of the store of the last Run
	status  atomic.Pointer[Status]
}

// Status is whether a client hears a server. Facts are as new as a server's while it
// does, and as old as Since when it does not.
type Status struct {
	// Synced says that there is a stream, and that the server has said everything on it.
	Synced bool
	// Since is when that became so: for a client that has never heard any server, when it
	// was made.
	Since time.Time
}

var _ watchers.Watcher = (*Client)(nil)

// NewClient returns a client of one or more servers, all of one cluster: connections are
// the caller's, and stay open. When one fails the next is tried. The error names what is
// wrong.
func NewClient(cfg ClientConfig, servers ...grpc.ClientConnInterface) (*Client, error) {
	hello := &kpng.ClusterHello{
		Namespaces: slices.Clone(cfg.Namespaces), ServiceProxyName: cfg.ProxyName, AllProxies: cfg.AllProxies,
	}
	_, err := selectorOf(hello)
	if err != nil {
		err = fmt.Errorf("Namespaces, ProxyName, AllProxies: %w", err)
	}
	if len(servers) == 0 {
		err = errors.Join(err, errors.New("there is no server"))
	}
	if cfg.MaxReconnect < 0 {
		err = errors.Join(err, errors.New("MaxReconnect: must not be negative"))
	}
	if err != nil {
		return nil, fmt.Errorf("remote: bad ClientConfig: %w", err)
	}
	cfg.MaxReconnect = cmp.Or(cfg.MaxReconnect, 10*time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, hello: hello, servers: servers}
	c.setSynced(false)
	return c, nil
}

// Status returns whether a server is heard now. It may be called from any goroutine.
func (c *Client) Status() Status { return *c.status.Load() }

func (c *Client) setSynced(heard bool) { c.status.Store(&Status{Synced: heard, Since: time.Now()}) }

// Run keeps store in line with what servers say until ctx is done, and then returns nil.
// The store is synced when a server has said everything. Each update of a server is one
// transaction; while no server is in reach, or what one says makes no sense, the store
// keeps what it has. Servers are tried for ever. When Run is called again with the store
// of the last time, it asks for the difference.
func (c *Client) Run(ctx context.Context, store *watchers.Store) error {
	if store == nil {
		return errors.New("remote: no store")
	}
	if c.state == nil || c.state.store != store {
		c.state = newObjectState(store)
	}
	type (
		request = kpng.WatchClusterRequest
		answer  = kpng.WatchClusterResponse
	)
	client := session.Client[*request, *answer]{
		ClientName: c.cfg.ClientName, Capabilities: capabilities(), Servers: c.servers, MaxReconnect: c.cfg.MaxReconnect,
		Open: func(ctx context.Context, server grpc.ClientConnInterface) (session.Stream[*request, *answer], error) {
			return kpng.NewClusterServiceClient(server).WatchCluster(ctx)
		},
		Hello: func(h *kpng.Hello) *request {
			return &request{Message: &kpng.WatchClusterRequest_Hello{Hello: &kpng.ClusterHello{
				Hello: h, Namespaces: c.hello.GetNamespaces(), ServiceProxyName: c.hello.GetServiceProxyName(),
				AllProxies: c.hello.GetAllProxies(),
			}}}
		},
		Held: func(h *kpng.HeldDigests) *request {
			return &request{Message: &kpng.WatchClusterRequest_HeldDigests{HeldDigests: h}}
		},
		Ack:   func(a *kpng.Ack) *request { return &request{Message: &kpng.WatchClusterRequest_Ack{Ack: a}} },
		State: c.state, Acks: c.state.acks,
		Logger: c.cfg.Logger, LostMessage: "Not heard from the server, will try again; facts stay as they are",
		OnSynced: c.setSynced,
	}
	client.Run(ctx)
	return nil
}
