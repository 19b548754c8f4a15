// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"errors"
	"fmt"
	"net/netip"
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

// After random changes of objects, restarts of servers and failures of sinks, each node has
// the state that it would resolve by itself.
func TestNodesConvergeToLocallyResolvedState(t *testing.T) {
	const nodes, steps = 5, 400
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			random := watchertest.NewRandom(seed, nodes, 6)
			random.Extended = seed != 1
			store := watchers.NewStore()
			resolver := nodelocal.MultiNodeConfig{LocalPods: nodelocal.PodDetection{NodeCIDR: seed != 1}, MasqueradeAll: seed == 2,
				NodePortAddresses: []string{"primary", "localhost"}[:min(seed, 2)]}
			if seed == 3 {
				resolver.NoMasquerade = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
			}
			store.Update(func(tx *watchers.Tx) {
				random.Step()(tx)
				tx.SetSynced()
			})
			cfg := node.ServerConfig{Resolver: resolver, MinInterval: time.Microsecond}
			f := newFixture(t, store, cfg)
			var sinks []*recordingSink
			var recorders []*sinktest.Recorder
			for n := range nodes {
				var chance atomic.Uint64
				sink, r := newRecordingSink(), &sinktest.Recorder{}
				r.Fail = func(*localsink.Update) error {
					if chance.Add(1)%7 == 3 {
						return errors.New("injected")
					}
					return nil
				}
				sinks, recorders = append(sinks, sink), append(recorders, r)
				c, err := node.NewClient(node.ClientConfig{
					NodeName: fmt.Sprint("node-", n), MaxBackoff: 100 * time.Millisecond, MaxReconnect: 100 * time.Millisecond,
				}, f.dial())
				require.NoError(t, err)
				run(t, c, localsink.Chain(r, sink))
			}
			for i := range steps {
				store.Update(random.Step())
				if i%100 == 50 {
					f.restart()
				}
				if i%40 == 7 {
					for n, sink := range sinks {
						sink.wait(t, resolve(t, store, resolver, fmt.Sprint("node-", n)))
					}
				}
			}
			for n, sink := range sinks {
				sink.wait(t, resolve(t, store, resolver, fmt.Sprint("node-", n)))
				require.NoError(t, recorders[n].Err())
			}
		})
	}
}

func TestClientFailsOverToNextServer(t *testing.T) {
	random := watchertest.NewRandom(1, 3, 6)
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	fixtures := []*fixture{newFixture(t, store, node.ServerConfig{}), newFixture(t, store, node.ServerConfig{})}
	sink := newRecordingSink()
	var conns []grpc.ClientConnInterface
	for _, f := range fixtures {
		conns = append(conns, f.dial())
	}
	c, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, conns...)
	require.NoError(t, err)
	run(t, c, sink)
	for i := range 6 {
		for range 20 {
			store.Update(random.Step())
		}
		sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, "node-1"))
		fixtures[i%2].restart()
	}
}

// Clients converge although their server is killed again and again while it sends.
func TestNodesConvergeOverFrequentRestarts(t *testing.T) {
	const nodes = 4
	random := watchertest.NewRandom(9, nodes, 30)
	random.Extended = true
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	f := newFixture(t, store, node.ServerConfig{})
	var sinks []*recordingSink
	var recorders []*sinktest.Recorder
	for n := range nodes {
		sink, r := newRecordingSink(), &sinktest.Recorder{}
		sinks, recorders = append(sinks, sink), append(recorders, r)
		c, err := node.NewClient(node.ClientConfig{NodeName: fmt.Sprint("node-", n), MaxReconnect: 100 * time.Millisecond}, f.dial())
		require.NoError(t, err)
		run(t, c, localsink.Chain(r, sink))
	}
	for i := range 60 {
		for range 20 {
			store.Update(random.Step())
		}
		if i%3 == 0 { // otherwise before the clients have synced
			sinks[i%nodes].wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, fmt.Sprint("node-", i%nodes)))
		}
		f.restart()
	}
	for n, sink := range sinks {
		sink.wait(t, resolve(t, store, nodelocal.MultiNodeConfig{}, fmt.Sprint("node-", n)))
		require.NoError(t, recorders[n].Err())
	}
}
