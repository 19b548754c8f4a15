// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// A trafficMeter is a stats.Handler that counts what a client receives.
type trafficMeter struct {
	mu       sync.Mutex
	bytes    int
	services []string // names
	overlays int
	nodes    int
}

func (m *trafficMeter) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (m *trafficMeter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (m *trafficMeter) HandleConn(context.Context, stats.ConnStats)                       {}

func (m *trafficMeter) HandleRPC(_ context.Context, s stats.RPCStats) {
	in, ok := s.(*stats.InPayload)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bytes += in.WireLength
	if r, ok := in.Payload.(*kpng.WatchNodeResponse); ok {
		for _, c := range r.GetServices() {
			m.services = append(m.services, c.GetName())
		}
		m.overlays += len(r.GetOverlays())
		if r.GetNode() != nil {
			m.nodes++
		}
	}
}

// read returns the counts since the last call.
func (m *trafficMeter) read() (bytes, overlays, nodes int, services []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bytes, overlays, nodes, services = m.bytes, m.overlays, m.nodes, m.services
	m.bytes, m.overlays, m.nodes, m.services = 0, 0, 0, nil
	return bytes, overlays, nodes, services
}

// A client that resumes at another server receives only differences, and so does one whose
// node changes its zone or addresses.
func TestOnlyDifferencesAreSent(t *testing.T) {
	const services = 2000
	store := newStore(services)
	store.Update(func(tx *watchers.Tx) {
		for i := range services {
			endpoints := 3
			if i < 10 {
				endpoints = 5 // the last of them on node-4
			}
			s := slice(i, endpoints)
			for j := range s.Endpoints {
				if i == 7 {
					s.Endpoints[j].Hints = &watchers.Hints{Zones: []string{fmt.Sprint("zone-", j%2)}}
				}
			}
			tx.SetEndpointSlice(s)
		}
		tx.SetNode(&watchers.Node{Name: "node-4", Zone: "zone-0", IPs: addrs("192.0.2.9")})
	})
	f := newFixture(t, store, node.ServerConfig{})
	m, sink := &trafficMeter{}, newRecordingSink()
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-4"}, f.dial(grpc.WithStatsHandler(m)))
	require.NoError(t, err)
	run(t, c, sink)
	settle := func() (bytes, overlays, nodes int, services []string) {
		sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-4"))
		eventually(t, func() bool { return f.applied("node-4") })
		return m.read()
	}
	all, overlays, nodes, changed := settle()
	require.Len(t, changed, services)
	require.Equal(t, 10, overlays)
	require.Equal(t, 1, nodes)

	f.restart()
	bytes, overlays, nodes, changed := settle()
	require.Empty(t, changed, "no Service has changed")
	require.Equal(t, 10, overlays, "overlays are not resumed")
	require.Equal(t, 1, nodes)
	require.Less(t, bytes, 1000)
	require.Greater(t, all, 100*bytes)

	f.stop()
	store.Update(func(tx *watchers.Tx) { tx.SetService(newService(5, "new")) })
	f.start()
	bytes, _, _, changed = settle()
	require.Equal(t, []string{"svc-5"}, changed)
	require.Less(t, bytes, 1000)

	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-4", Zone: "zone-1", IPs: addrs("192.0.2.9")})
	})
	bytes, overlays, _, changed = settle()
	require.Equal(t, []string{"svc-7"}, changed, "the only Service with topology hints")
	require.Zero(t, overlays)
	require.Less(t, bytes, 200)

	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-4", Zone: "zone-1", IPs: addrs("192.0.2.1")})
	})
	bytes, overlays, nodes, changed = settle()
	require.Empty(t, changed)
	require.Zero(t, overlays)
	require.Equal(t, 1, nodes)
	require.Less(t, bytes, 100)

	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-0", Zone: "zone-1", IPs: addrs("192.0.2.2")})
	})
	store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(9, 4)) })
	bytes, _, nodes, changed = settle()
	require.Equal(t, []string{"svc-9"}, changed)
	require.Zero(t, nodes, "changes of other nodes are not sent")
	require.Less(t, bytes, 200)
}
