// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster_test

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/watchers"
)

// relay serves the cluster state of upstream on listener until ctx ends.
func relay(ctx context.Context, upstream grpc.ClientConnInterface, listener net.Listener) error {
	store := watchers.NewStore()
	client, err := cluster.NewClient(cluster.ClientConfig{AllProxies: true}, upstream)
	if err != nil {
		return err
	}
	server, err := cluster.NewServer(store, cluster.ServerConfig{})
	if err != nil {
		return err
	}
	defer server.Close()
	g := grpc.NewServer(cluster.ServerOption())
	server.Register(g)
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { _ = client.Run(ctx, store) })
	running.Go(func() {
		_ = server.Run(ctx) // ends all streams
		g.GracefulStop()
	})
	return g.Serve(listener)
}

// A relay is a client and a server of one store.
func Example_relay() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	source := watchers.NewStore()
	source.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{Name: watchers.ServiceName{Namespace: "default", Name: "web"}})
		tx.SetSynced()
	})

	// The root server; in a cluster, a watcher fills its store.
	root, _ := cluster.NewServer(source, cluster.ServerConfig{})
	g := grpc.NewServer(cluster.ServerOption())
	root.Register(g)
	rootListener, _ := net.Listen("tcp", "127.0.0.1:0")
	running.Go(func() { _ = g.Serve(rootListener) })
	running.Go(func() { _ = root.Run(ctx) })
	toRoot, _ := grpc.NewClient(rootListener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))

	relayListener, _ := net.Listen("tcp", "127.0.0.1:0")
	running.Go(func() { _ = relay(ctx, toRoot, relayListener) })
	toRelay, _ := grpc.NewClient(relayListener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))

	// A client of the relay works like a client of the root server.
	store := watchers.NewStore()
	client, _ := cluster.NewClient(cluster.ClientConfig{}, toRelay)
	running.Go(func() { _ = client.Run(ctx, store) })
	snap := store.Snapshot()
	for !snap.Synced() {
		<-snap.Newer()
		snap = store.Snapshot()
	}
	for svc := range snap.Services() {
		fmt.Println(svc.Name)
	}

	cancel()
	g.Stop()
	running.Wait()
	toRoot.Close()
	toRelay.Close()
	root.Close()
	// Output: default/web
}
