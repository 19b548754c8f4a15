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

// relay tells on listener what upstream tells, until ctx is done.
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

	// At the top is a server of facts that somebody brings; here, this program.
	top, _ := cluster.NewServer(source, cluster.ServerConfig{})
	g := grpc.NewServer(cluster.ServerOption())
	top.Register(g)
	topListener, _ := net.Listen("tcp", "127.0.0.1:0")
	running.Go(func() { _ = g.Serve(topListener) })
	running.Go(func() { _ = top.Run(ctx) })
	toTop, _ := grpc.NewClient(topListener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))

	relayListener, _ := net.Listen("tcp", "127.0.0.1:0")
	running.Go(func() { _ = relay(ctx, toTop, relayListener) })
	toRelay, _ := grpc.NewClient(relayListener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))

	// Whoever is behind the relay need not know that it is one.
	store := watchers.NewStore()
	leaf, _ := cluster.NewClient(cluster.ClientConfig{}, toRelay)
	running.Go(func() { _ = leaf.Run(ctx, store) })
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
	toTop.Close()
	toRelay.Close()
	top.Close()
	// Output: default/web
}
