// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package paths is a test fixture: it takes API objects along each path to a plugin that the
// library offers.
//
//	in process        API objects -> store -> resolver -> sink
//	over the network  API objects -> store -> ClusterService server -> relay
//	                    -> NodeService server with the resolver -> client -> sink
//
// The connections are gRPC over TCP; the plugin is not aware of the path.
package paths

import (
	"context"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
)

// NodeName is the node of the plugin.
const NodeName = "node-1"

// A Path connects an API server with a plugin until the test ends.
type Path struct {
	Name string
	// Store returns a store with the cluster state, which may not be synced yet.
	Store func(t *testing.T, client kubernetes.Interface, cfg kube.Config) *watchers.Store
	// Run calls sink with the desired state of NodeName.
	Run func(t *testing.T, client kubernetes.Interface, cfg kube.Config, resolver nodelocal.MultiNodeConfig, sink localsink.Sink)
}

// All returns all paths.
func All() []Path {
	return []Path{
		{"in process", watched, runLocal},
		{"behind a relay and a NodeService server", relayed, runRemote},
	}
}

func runLocal(t *testing.T, client kubernetes.Interface, cfg kube.Config, resolver nodelocal.MultiNodeConfig, sink localsink.Sink) {
	store := watched(t, client, cfg)
	start(t, func(ctx context.Context) error { return nodelocal.Follow(ctx, store, sink, resolver.ForNode(NodeName)) })
}

func runRemote(t *testing.T, client kubernetes.Interface, cfg kube.Config, resolver nodelocal.MultiNodeConfig, sink localsink.Sink) {
	conn := serveNode(t, relayed(t, client, cfg), resolver)
	c, err := node.NewClient(node.ClientConfig{NodeName: NodeName}, conn)
	noError(t, err)
	start(t, func(ctx context.Context) error { return c.Run(ctx, sink) })
}

// watched returns a store that follows the API server.
func watched(t *testing.T, client kubernetes.Interface, cfg kube.Config) *watchers.Store {
	cfg.Nodes = kube.NodesAll
	watcher, err := kube.New(client, cfg)
	noError(t, err)
	store := watchers.NewStore()
	start(t, func(ctx context.Context) error { return watcher.Run(ctx, store) })
	return store
}

// relayed returns a store that follows a relay of a server of the cluster state.
func relayed(t *testing.T, client kubernetes.Interface, cfg kube.Config) *watchers.Store {
	store := watched(t, client, cfg)
	for range 2 { // the relay, and what is behind it
		conn := serveCluster(t, store)
		c, err := cluster.NewClient(cluster.ClientConfig{AllProxies: true}, conn)
		noError(t, err)
		next := watchers.NewStore()
		start(t, func(ctx context.Context) error { return c.Run(ctx, next) })
		store = next
	}
	return store
}

// serveCluster returns a connection to a new ClusterService server.
func serveCluster(t *testing.T, store *watchers.Store) *grpc.ClientConn {
	server, err := cluster.NewServer(store, cluster.ServerConfig{})
	noError(t, err)
	return serve(t, cluster.ServerOption(), server)
}

// serveNode returns a connection to a new NodeService server.
func serveNode(t *testing.T, store *watchers.Store, resolver nodelocal.MultiNodeConfig) *grpc.ClientConn {
	server, err := node.NewServer(store, node.ServerConfig{Resolver: resolver})
	noError(t, err)
	return serve(t, node.ServerOption(), server)
}

// A service is one of the servers above.
type service interface {
	Register(g grpc.ServiceRegistrar)
	Run(ctx context.Context) error
	Close() error
}

func serve(t *testing.T, option grpc.ServerOption, s service) *grpc.ClientConn {
	t.Cleanup(func() { noError(t, s.Close()) })
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it does not block
	noError(t, err)
	g := grpc.NewServer(option)
	s.Register(g)
	start(t, func(context.Context) error { return g.Serve(listener) })
	t.Cleanup(g.Stop)
	start(t, s.Run)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	noError(t, err)
	t.Cleanup(func() { noError(t, conn.Close()) })
	return conn
}

// start runs a component until the test ends, and fails the test if it fails.
func start(t *testing.T, run func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := run(ctx); err != nil {
			t.Errorf("a component failed: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
