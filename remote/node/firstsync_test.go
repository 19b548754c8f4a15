// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/gzip"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// BenchmarkFirstSync measures a real client over loopback: the time until its sink has all
// 10,000 Services with 10 endpoints each, and then the time of one endpoint change. With
// gzip, each stream is compressed separately.
func BenchmarkFirstSync(b *testing.B) {
	for _, compressor := range []string{encoding.Identity, gzip.Name} {
		b.Run(compressor, func(b *testing.B) {
			const services, endpoints, nodes = 10_000, 10, 1000
			store := scaleStore(services, endpoints, nodes)
			server, err := node.NewServer(store, node.ServerConfig{})
			require.NoError(b, err)
			defer server.Close()
			g := grpc.NewServer(append(serverOptions(), node.ServerOption())...)
			server.Register(g)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { _ = g.Serve(listener) })
			running.Go(func() { _ = server.Run(ctx) })
			defer func() { g.Stop(); cancel(); running.Wait() }()
			<-server.Ready()

			var first, change, used time.Duration
			var firstBytes, changeBytes int64
			n := 0
			for b.Loop() {
				n++
				sync, bytes, after := syncAndChange(b, listener.Addr().String(), compressor, func() {
					slice := scaleSlice(n%services, endpoints, nodes, 1+n/services)
					store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice) })
				})
				first, firstBytes, used = first+sync.duration, firstBytes+bytes, used+sync.cpu
				change, changeBytes = change+after.duration, changeBytes+after.bytes
			}
			b.ReportMetric(float64(first.Microseconds())/float64(n)/1000, "ms-first")
			b.ReportMetric(float64(used.Microseconds())/float64(n)/1000, "cpu-ms-first")
			b.ReportMetric(float64(firstBytes)/float64(n)/1e6, "MB-first")
			b.ReportMetric(float64(change.Microseconds())/float64(n), "us-change")
			b.ReportMetric(float64(changeBytes)/float64(n), "B-change")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// A cost is what a sync took.
type cost struct {
	duration, cpu time.Duration
	bytes         int64
}

// syncAndChange runs a client until its first Sync, calls alter, and waits for the next Sync.
func syncAndChange(b *testing.B, target, compressor string, alter func()) (first cost, bytes int64, change cost) {
	var down, up atomic.Int64
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, a string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", a)
			return counter{c, &down, &up}, err
		}),
	}
	if compressor != encoding.Identity {
		options = append(options, grpc.WithDefaultCallOptions(grpc.UseCompressor(compressor)))
	}
	start, startCPU := time.Now(), cpuTime()
	conn, err := grpc.NewClient("passthrough:///"+target, options...)
	require.NoError(b, err)
	defer conn.Close()
	client, err := node.NewClient(node.ClientConfig{NodeName: "node-0001"}, conn)
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	synced := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		_ = client.Run(ctx, localsink.Func(func(context.Context, *localsink.Update) error {
			select {
			case synced <- struct{}{}:
			case <-ctx.Done():
			}
			return nil
		}))
	})
	defer func() { cancel(); running.Wait() }()
	<-synced
	first = cost{duration: time.Since(start), cpu: cpuTime() - startCPU}
	bytes = down.Load()
	start = time.Now()
	alter()
	<-synced
	return first, bytes, cost{duration: time.Since(start), bytes: down.Load() - bytes}
}
