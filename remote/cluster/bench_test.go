// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"sigs.k8s.io/kpng/watchers"
)

// Size of the benchmarks: 10,000 Services with 10 endpoints each.
const benchServices, benchEndpoints = 10_000, 10

// BenchmarkRelayOneEndpointChange measures one endpoint change from a root server through a
// relay to a client. CPU time is that of all three; bytes are those that the client
// receives.
func BenchmarkRelayOneEndpointChange(b *testing.B) {
	source := newClusterStore(benchServices, benchEndpoints)
	cfg := ServerConfig{MinInterval: time.Nanosecond}
	root := newFixture(b, source, cfg)
	relay := newFixture(b, runClient(b, ClientConfig{AllProxies: true}, root.dial()), cfg)
	bytes := newByteCounter()
	leaf := runClient(b, ClientConfig{}, relay.dial(grpc.WithStatsHandler(bytes)))
	snap := await(b, leaf, "all objects", watchers.Snapshot.Synced)
	bytes.reset()
	used := cpuTime()
	i := 0
	for b.Loop() {
		s := slice(i%benchServices, benchEndpoints)
		s.Endpoints[i%benchEndpoints].Ready = i/benchServices%2 == 1
		source.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(s) })
		<-snap.Newer()
		snap = leaf.Snapshot()
		i++
	}
	b.ReportMetric(float64((cpuTime()-used).Microseconds())/float64(b.N), "cpu-µs/op")
	b.ReportMetric(float64(bytes.in.Load())/float64(b.N), "B-in/op")
}

// BenchmarkFirstSync measures a full sync of a client. All objects have been encoded before,
// for an earlier client.
func BenchmarkFirstSync(b *testing.B) {
	s := newFixture(b, newClusterStore(benchServices, benchEndpoints), ServerConfig{})
	bytes := newByteCounter()
	conn := s.dial(grpc.WithStatsHandler(bytes))
	sync := func() {
		store := watchers.NewStore()
		stop := start(b, newClient(b, ClientConfig{}, conn), store)
		snap := await(b, store, "all objects", watchers.Snapshot.Synced)
		require.Equal(b, 2*benchServices+1, snap.Len())
		stop()
	}
	sync()
	bytes.reset()
	used := cpuTime()
	for b.Loop() {
		sync()
	}
	b.ReportMetric(float64((cpuTime()-used).Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(bytes.in.Load())/float64(b.N), "B-in/op")
}

// BenchmarkResume measures the resume of a client after one endpoint has changed.
func BenchmarkResume(b *testing.B) {
	source := newClusterStore(benchServices, benchEndpoints)
	s := newFixture(b, source, ServerConfig{})
	bytes := newByteCounter()
	conn := s.dial(grpc.WithStatsHandler(bytes))
	store, client := watchers.NewStore(), newClient(b, ClientConfig{}, conn)
	stop := start(b, client, store)
	snap := await(b, store, "all objects", watchers.Snapshot.Synced)
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
