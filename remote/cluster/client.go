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

// A ClientConfig configures a [Client]. The zero value selects the Services of the default
// proxy in all namespaces.
type ClientConfig struct {
	// Namespaces selects the namespaces of Services and EndpointSlices; empty selects all.
	// At most 1,000.
	Namespaces []string
	// ProxyName selects the Services with this value of the label
	// service.kubernetes.io/service-proxy-name; "" selects the Services without the label.
	ProxyName string
	// AllProxies selects Services whatever the label is. ProxyName must be empty.
	AllProxies bool
	// ClientName identifies the program and its version to the server, for display only.
	ClientName string
	// MaxReconnect bounds the pause between attempts at the same server, which starts at
	// 100 ms and doubles, with jitter. 0 means 10 s. While a server cannot be reached at all,
	// the pause is at most 1 s, because such attempts do not burden the server.
	MaxReconnect time.Duration
	// RebalanceInterval is the mean time between two checks whether a preferred server is
	// available again; the client then moves there. Each client prefers its servers in a
	// random order, so that clients spread evenly over them. 0 means 1 min, a negative value
	// no checks.
	RebalanceInterval time.Duration
	// Logger receives lost and restored connections; nil discards them.
	Logger *slog.Logger
}

// A Client is a [watchers.Watcher] that receives cluster state from servers.
type Client struct {
	cfg     ClientConfig
	hello   *kpng.ClusterHello // without the part that all protocols share
	servers []grpc.ClientConnInterface
	state   *objectState // of the store of the last Run
	status  atomic.Pointer[Status]
}

// Status describes the connection of a client. While Synced is true, the store is as recent
// as the server's; otherwise it may have been outdated since Since.
type Status struct {
	// Synced reports whether there is a stream that has delivered the complete state.
	Synced bool
	// Since is the time of the last change of Synced, or of NewClient.
	Since time.Time
}

var _ watchers.Watcher = (*Client)(nil)

// NewClient returns a client of one or more servers of the same cluster. If a server fails,
// the client continues with another one. The caller owns the connections and closes them
// after Run has returned. An error names the invalid field of cfg.
func NewClient(cfg ClientConfig, servers ...grpc.ClientConnInterface) (*Client, error) {
	hello := &kpng.ClusterHello{
		Namespaces: slices.Clone(cfg.Namespaces), ServiceProxyName: cfg.ProxyName, AllProxies: cfg.AllProxies,
	}
	_, err := selectorOf(hello, true)
	if err != nil {
		err = fmt.Errorf("Namespaces, ProxyName, AllProxies: %w", err)
	}
	if len(servers) == 0 {
		err = errors.Join(err, errors.New("servers: at least one is required"))
	}
	if cfg.MaxReconnect < 0 {
		err = errors.Join(err, errors.New("MaxReconnect: must not be negative"))
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: invalid ClientConfig: %w", err)
	}
	cfg.MaxReconnect = cmp.Or(cfg.MaxReconnect, 10*time.Second)
	cfg.RebalanceInterval = cmp.Or(cfg.RebalanceInterval, time.Minute)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, hello: hello, servers: servers}
	c.setSynced(false)
	return c, nil
}

// Status returns the current status. It may be called concurrently.
func (c *Client) Status() Status { return *c.status.Load() }

func (c *Client) setSynced(synced bool) { c.status.Store(&Status{Synced: synced, Since: time.Now()}) }

// Run keeps store equal to the selected state of a server until ctx ends, and then returns
// nil. It marks the store as synced with the first complete state. Each update of a server
// is one transaction. The store keeps its content while no server is reachable and after
// invalid messages; lost connections are retried without limit.
//
// Run may be called again after it has returned. With the same store, it resumes and
// receives only differences.
func (c *Client) Run(ctx context.Context, store *watchers.Store) error {
	if store == nil {
		return errors.New("cluster: store: required")
	}
	if c.state == nil || c.state.store != store {
		c.state = newObjectState(store)
	}
	type (
		request  = kpng.WatchClusterRequest
		response = kpng.WatchClusterResponse
	)
	client := session.Client[*request, *response]{
		ClientName: c.cfg.ClientName, Capabilities: capabilities(), Servers: c.servers,
		MaxReconnect: c.cfg.MaxReconnect, RebalanceInterval: c.cfg.RebalanceInterval,
		Open: func(ctx context.Context, server grpc.ClientConnInterface) (session.Stream[*request, *response], error) {
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
		Logger: c.cfg.Logger, LostMessage: "Server connection failed, retrying; cluster state is kept",
		OnSynced: c.setSynced,
	}
	client.Run(ctx)
	return nil
}
