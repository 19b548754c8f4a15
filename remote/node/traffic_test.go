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

// A trafficMeter counts what a node is sent.
type trafficMeter struct {
	mu       sync.Mutex
	bytes    int
	services []string // that were told
	owns     int
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
		m.owns += len(r.GetOverlays())
		if r.GetNode() != nil {
			m.nodes++
		}
	}
}

// read returns what was counted since the last time.
func (m *trafficMeter) read() (bytes, owns, nodes int, services []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bytes, owns, nodes, services = m.bytes, m.owns, m.nodes, m.services
	m.bytes, m.owns, m.nodes, m.services = 0, 0, 0, nil
	return bytes, owns, nodes, services
}

// TestOnlyWhatDiffersIsSent: to a node that comes back to another server, and to one
// whose zone changes, in bytes.
func TestOnlyWhatDiffersIsSent(t *testing.T) {
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
		tx.SetNode(&watchers.Node{Name: "node-4", Zone: "zone-0"})
	})
	s := newFixture(t, store, node.ServerConfig{})
	m, k := &trafficMeter{}, newRecordingSink()
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-4"}, s.dial(grpc.WithStatsHandler(m)))
	require.NoError(t, err)
	run(t, c, k)
	settle := func() (bytes, owns, nodes int, services []string) {
		k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-4"))
		eventually(t, func() bool { return s.applied("node-4") })
		return m.read()
	}
	all, owns, nodes, told := settle()
	require.Len(t, told, services)
	require.Equal(t, 10, owns)
	require.Equal(t, 1, nodes)

	s.restart()
	bytes, owns, nodes, told := settle()
	require.Empty(t, told, "nothing has changed")
	require.Equal(t, 10, owns, "what is a node's own is little, and comes whole")
	require.Equal(t, 1, nodes)
	require.Less(t, bytes, 1000)
	require.Greater(t, all, 100*bytes)

	s.stop()
	store.Update(func(tx *watchers.Tx) { tx.SetService(newService(5, "new")) })
	s.start()
	bytes, _, _, told = settle()
	require.Equal(t, []string{"svc-5"}, told)
	require.Less(t, bytes, 1000)

	store.Update(func(tx *watchers.Tx) { tx.SetNode(&watchers.Node{Name: "node-4", Zone: "zone-1"}) })
	bytes, owns, _, told = settle()
	require.Equal(t, []string{"svc-7"}, told, "the only one that zones see differently")
	require.Zero(t, owns)
	require.Less(t, bytes, 200)

	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-4", Zone: "zone-1", IPs: addrs("192.0.2.1")})
	})
	bytes, owns, nodes, told = settle()
	require.Empty(t, told)
	require.Zero(t, owns)
	require.Equal(t, 1, nodes)
	require.Less(t, bytes, 100)

	store.Update(func(tx *watchers.Tx) {
		tx.SetNode(&watchers.Node{Name: "node-0", Zone: "zone-1", IPs: addrs("192.0.2.2")})
	})
	store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(slice(9, 4)) })
	bytes, _, nodes, told = settle()
	require.Equal(t, []string{"svc-9"}, told)
	require.Zero(t, nodes, "another node's change is none of its business")
	require.Less(t, bytes, 200)
}
