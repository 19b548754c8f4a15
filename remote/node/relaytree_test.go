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

	"sigs.k8s.io/kpng/remote/cluster"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// BenchmarkRelayTree measures one endpoint change from a root server through relays to all
// nodes, in one process. KPNG_BENCH_TREE=20x5000 sets the number of relays and of nodes per
// relay, here for a cluster of 100,000 nodes.
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

	root, err := cluster.NewServer(store, cluster.ServerConfig{ServerName: "root"})
	require.NoError(b, err)
	b.Cleanup(func() { root.Close() })
	g, listener := grpc.NewServer(cluster.ServerOption()), bufconn.Listen(1<<20)
	root.Register(g)
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = root.Run(ctx) })
	b.Cleanup(g.Stop)

	groups := make([]*fakeClients, relays)
	for i := range groups {
		groups[i] = newFakeClients(nodes)
		startRelay(ctx, b, &running, listener, groups[i])
	}
	start, startCPU := time.Now(), cpuTime()
	for _, f := range groups {
		running.Go(func() { f.connect(func(i int) string { return fmt.Sprintf("node-%04d", i) }) })
	}
	revisions := make([]uint64, relays)
	waitAll := func() (at time.Time) {
		for i, f := range groups {
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
	waitAll()
	b.Logf("%d nodes connected after %v, CPU time %v; resident %d MiB",
		relays*nodes, time.Since(start).Round(time.Second), cpuTime()-startCPU, resident()>>20)
	n, sum, used := 0, time.Duration(0), cpuTime()
	for b.Loop() {
		n++
		at := time.Now()
		slice := scaleSlice(n%services, endpoints, nodes, 1+n/services)
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
		sum += waitAll().Sub(at)
	}
	b.ReportMetric(float64((cpuTime()-used).Microseconds())/float64(n*relays*nodes), "us/node")
	b.ReportMetric(float64(sum.Milliseconds())/float64(n), "ms-to-last")
	b.ReportMetric(float64(resident()>>20), "MiB")
	b.ReportMetric(0, "ns/op")
}

// startRelay runs a relay between the root server and a group of nodes.
func startRelay(ctx context.Context, b *testing.B, running *sync.WaitGroup, root *bufconn.Listener, nodes *fakeClients) {
	conn, err := grpc.NewClient("passthrough:///root", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return root.DialContext(ctx) }))
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	client, err := cluster.NewClient(cluster.ClientConfig{}, conn)
	require.NoError(b, err)
	store := watchers.NewStore()
	running.Go(func() { _ = client.Run(ctx, store) })
	server, err := node.NewServer(store, node.ServerConfig{})
	require.NoError(b, err)
	b.Cleanup(func() { server.Close() })
	g := grpc.NewServer(append(serverOptions(), node.ServerOption())...)
	server.Register(g)
	running.Go(func() { _ = g.Serve(nodes) })
	running.Go(func() { _ = server.Run(ctx) })
	b.Cleanup(g.Stop)
	<-server.Ready()
}
