// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"sigs.k8s.io/kpng/watchers"
)

// The cluster of the benchmarks: 10,000 Services of 10 endpoints.
const benchServices, benchEndpoints = 10_000, 10

func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRelayOneEndpointChange is one endpoint that changes at the top until a leaf
// behind a relay has it. Processor time is that of all three together; bytes are those
// that the leaf gets.
func BenchmarkRelayOneEndpointChange(b *testing.B) {
	source := newClusterStore(benchServices, benchEndpoints)
	cfg := ServerConfig{MinInterval: time.Nanosecond}
	top := newFixture(b, source, cfg)
	middle := newFixture(b, newSyncedStore(b, ClientConfig{AllProxies: true}, top.dial()), cfg)
	bytes := newByteCounter()
	leaf := newSyncedStore(b, ClientConfig{}, middle.dial(grpc.WithStatsHandler(bytes)))
	snap := await(b, leaf, "all facts", watchers.Snapshot.Synced)
	bytes.reset()
	used := processorTime()
	i := 0
	for b.Loop() {
		s := slice(i%benchServices, benchEndpoints)
		s.Endpoints[i%benchEndpoints].Ready = i/benchServices%2 == 1
		source.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(s) })
		<-snap.Newer()
		snap = leaf.Snapshot()
		i++
	}
	b.ReportMetric(float64((processorTime()-used).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(bytes.in.Load())/float64(b.N), "B-in/op")
}

// BenchmarkFirstSync is a client that holds nothing, from its beginning until it holds
// all; everything was encoded before, as it is once for all clients.
func BenchmarkFirstSync(b *testing.B) {
	s := newFixture(b, newClusterStore(benchServices, benchEndpoints), ServerConfig{})
	bytes := newByteCounter()
	conn := s.dial(grpc.WithStatsHandler(bytes))
	sync := func() {
		store := watchers.NewStore()
		stop := start(b, newClient(b, ClientConfig{}, conn), store)
		snap := await(b, store, "all facts", watchers.Snapshot.Synced)
		require.Equal(b, 2*benchServices+1, snap.Len())
		stop()
	}
	sync()
	bytes.reset()
	used := processorTime()
	for b.Loop() {
		sync()
	}
	b.ReportMetric(float64((processorTime()-used).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(bytes.in.Load())/float64(b.N), "B-in/op")
}

// BenchmarkResume is a client that comes back to another server and holds all but one
// endpoint.
func BenchmarkResume(b *testing.B) {
	source := newClusterStore(benchServices, benchEndpoints)
	s := newFixture(b, source, ServerConfig{})
	bytes := newByteCounter()
	conn := s.dial(grpc.WithStatsHandler(bytes))
	store, client := watchers.NewStore(), newClient(b, ClientConfig{}, conn)
	stop := start(b, client, store)
	snap := await(b, store, "all facts", watchers.Snapshot.Synced)
	stop()
	bytes.reset()
	i := 0
	for b.Loop() {
		one := slice(i%benchServices, benchEndpoints)
		one.Endpoints[0].Ready = i/benchServices%2 == 1
		source.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(one) })
		s.caughtUp()
		stop := start(b, client, store)
		<-snap.Newer()
		snap = store.Snapshot()
		stop()
		i++
	}
	b.ReportMetric(float64(bytes.in.Load())/float64(b.N), "B-in/op")
	b.ReportMetric(float64(bytes.out.Load())/float64(b.N), "B-out/op")
}
