// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	global "sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// BenchmarkRelayTree is one endpoint change from one server through relays to all their
// nodes, in one process: KPNG_BENCH_TREE=20x5000 is relays and nodes of each, which is a
// cluster of 100,000.
func BenchmarkRelayTree(b *testing.B) {
	relays, nodes := 4, 250
	if spec := os.Getenv("KPNG_BENCH_TREE"); spec != "" {
		_, err := fmt.Sscanf(spec, "%dx%d", &relays, &nodes)
		require.NoError(b, err)
	}
	const services, endpoints = 1000, 10
	relaxGC(b)
	store := scaleStore(services, endpoints, nodes)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { cancel(); running.Wait() })

	root, err := global.NewServer(store, global.ServerConfig{ServerName: "root"})
	require.NoError(b, err)
	b.Cleanup(root.Close)
	g, listener := grpc.NewServer(global.ServerOption()), bufconn.Listen(1<<20)
	root.Register(g)
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = root.Run(ctx) })
	b.Cleanup(g.Stop)

	flights := make([]*fakeClients, relays)
	for i := range flights {
		flights[i] = newFakeClients(nodes)
		startRelay(ctx, b, &running, listener, flights[i])
	}
	begun, joining := time.Now(), cpu()
	for _, f := range flights {
		running.Go(func() { f.connect(func(i int) string { return fmt.Sprintf("node-%04d", i) }) })
	}
	revisions := make([]uint64, relays)
	last := func() (at time.Time) {
		for i, f := range flights {
			r := allReceived{}
			for r.revision <= revisions[i] {
				r = <-f.reached
			}
			revisions[i] = r.revision
			if r.last.After(at) {
				at = r.last
			}
		}
		return at
	}
	last()
	b.Logf("%d nodes have joined after %v of the processors' %v; resident %d MiB",
		relays*nodes, time.Since(begun).Round(time.Second), cpu()-joining, resident()>>20)
	n, sum, used := 0, time.Duration(0), cpu()
	for b.Loop() {
		n++
		at := time.Now()
		slice := scaleSlice(n%services, endpoints, nodes, 1+n/services)
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
		sum += last().Sub(at)
	}
	b.ReportMetric(float64((cpu()-used).Microseconds())/float64(n*relays*nodes), "us/node")
	b.ReportMetric(float64(sum.Milliseconds())/float64(n), "ms-to-last")
	b.ReportMetric(float64(resident()>>20), "MiB")
	b.ReportMetric(0, "ns/op")
}

// startRelay runs a relay between the root and a flight of nodes.
func startRelay(ctx context.Context, b *testing.B, running *sync.WaitGroup, root *bufconn.Listener, nodes *fakeClients) {
	conn, err := grpc.NewClient("passthrough:///root", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return root.DialContext(ctx) }))
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	client, err := global.NewClient(global.ClientConfig{}, conn)
	require.NoError(b, err)
	copied := watchers.NewStore()
	running.Go(func() { _ = client.Run(ctx, copied) })
	server, err := node.NewServer(copied, node.ServerConfig{})
	require.NoError(b, err)
	b.Cleanup(server.Close)
	g := grpc.NewServer(append(serverOptions(), node.ServerOption())...)
	server.Register(g)
	running.Go(func() { _ = g.Serve(nodes) })
	running.Go(func() { _ = server.Run(ctx) })
	b.Cleanup(g.Stop)
	<-server.Ready()
}
