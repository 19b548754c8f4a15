// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// TestNodesAreToldWhatTheyWouldCompute: whatever happens to facts, nodes, servers and
// sinks, each node ends up with what it would have computed by itself.
func TestNodesAreToldWhatTheyWouldCompute(t *testing.T) {
	const nodes, steps = 5, 400
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := watchertest.NewRandom(seed, nodes, 6)
			store := watchers.NewStore()
			meaning := nodelocal.MultiNodeConfig{LocalPods: nodelocal.PodDetection{NodeCIDR: seed != 1}, MasqueradeAll: seed == 2,
				NodePortAddresses: []string{"primary", "localhost"}[:min(seed, 2)]}
			store.Update(func(tx *watchers.Tx) {
				random.Step()(tx)
				tx.SetSynced()
			})
			cfg := node.ServerConfig{Resolver: meaning, MinInterval: time.Microsecond}
			s := newFixture(t, store, cfg)
			var keepers []*recordingSink
			var recorders []*sinktest.Recorder
			for n := range nodes {
				var chance atomic.Uint64
				k, r := newRecordingSink(), &sinktest.Recorder{}
				r.Fail = func(*localsink.Update) error {
					if chance.Add(1)%7 == 3 {
						return errors.New("the kernel says no")
					}
					return nil
				}
				keepers, recorders = append(keepers, k), append(recorders, r)
				c, err := node.NewClient(node.ClientConfig{
					NodeName: fmt.Sprint("node-", n), MaxBackoff: 100 * time.Millisecond, MaxReconnect: 100 * time.Millisecond,
				}, s.dial())
				require.NoError(t, err)
				run(t, c, localsink.Chain(r, k))
			}
			for i := range steps {
				store.Update(random.Step())
				if i%100 == 50 {
					s.restart()
				}
				if i%40 == 7 {
					for n, k := range keepers {
						k.wait(t, resolve(t, store, meaning, fmt.Sprint("node-", n)))
					}
				}
			}
			for n, k := range keepers {
				k.wait(t, resolve(t, store, meaning, fmt.Sprint("node-", n)))
				require.NoError(t, recorders[n].Err())
			}
		})
	}
}

// TestFailover: a client of several servers goes on with the next when one dies.
func TestFailover(t *testing.T) {
	random := watchertest.NewRandom(1, 3, 6)
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	sites := []*fixture{newFixture(t, store, node.ServerConfig{}), newFixture(t, store, node.ServerConfig{})}
	k := newRecordingSink()
	var conns []grpc.ClientConnInterface
	for _, s := range sites {
		conns = append(conns, s.dial())
	}
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, conns...)
	require.NoError(t, err)
	run(t, c, k)
	for i := range 6 {
		for range 20 {
			store.Update(random.Step())
		}
		k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
		sites[i%2].restart()
	}
}

// TestServersThatDieAllTheTime: one after the other, in the middle of changes and of
// whatever they were saying.
func TestServersThatDieAllTheTime(t *testing.T) {
	const nodes = 4
	random := watchertest.NewRandom(9, nodes, 30)
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	s := newFixture(t, store, node.ServerConfig{})
	var keepers []*recordingSink
	var recorders []*sinktest.Recorder
	for n := range nodes {
		k, r := newRecordingSink(), &sinktest.Recorder{}
		keepers, recorders = append(keepers, k), append(recorders, r)
		c, err := node.NewClient(node.ClientConfig{NodeName: fmt.Sprint("node-", n), MaxReconnect: 100 * time.Millisecond}, s.dial())
		require.NoError(t, err)
		run(t, c, localsink.Chain(r, k))
	}
	for i := range 60 {
		for range 20 {
			store.Update(random.Step())
		}
		if i%3 == 0 { // otherwise before anybody has heard anything
			keepers[i%nodes].wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, fmt.Sprint("node-", i%nodes)))
		}
		s.restart()
	}
	for n, k := range keepers {
		k.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, fmt.Sprint("node-", n)))
		require.NoError(t, recorders[n].Err())
	}
}
