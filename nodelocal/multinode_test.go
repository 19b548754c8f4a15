// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// TestAllAtOnceIsEachAlone: what all nodes have of their own, and what zones have in common,
// is the same whether it is found at once and remembered, or looked for alone.
func TestAllAtOnceIsEachAlone(t *testing.T) {
	some := 0
	for seed := range uint64(300) {
		w := world{rand.New(rand.NewPCG(seed, 3))}
		store := watchers.NewStore()
		fleet, err := NewMultiNodeResolver(store, MultiNodeConfig{})
		require.NoError(t, err)
		store.Update(func(tx *watchers.Tx) {
			for range 10 {
				svc := w.service()
				if w.IntN(2) == 0 {
					svc.Type, svc.ExternalPolicy = watchers.TypeLoadBalancer, watchers.PolicyLocal
				}
				tx.SetService(svc)
			}
			for range 30 {
				tx.SetEndpointSlice(w.mixed())
			}
			tx.SetSynced()
		})
		for _, m := range fleet.Refresh().Services {
			if m == nil {
				continue
			}
			want := map[string]*overlay.Overlay{}
			for i := range 5 {
				node := fmt.Sprint("node-", i)
				if own := m.Overlay(node); own != nil {
					want[node] = own
				}
			}
			all := m.Overlays()
			require.Equal(t, len(want), len(all), "seed %d", seed)
			for node, own := range want {
				require.True(t, own.Equal(all[node]), "seed %d: %s: wanted\n%+v, is\n%+v", seed, node, own, all[node])
				require.Same(t, all[node], m.Overlay(node))
				some++
			}
			for _, zone := range []string{"", "zone-0", "zone-1", "elsewhere"} {
				require.Equal(t, m.of(zone), m.Base(zone), "seed %d: a zone that nothing tells apart is like no zone", seed)
				require.Same(t, m.Base(zone), m.Base(zone))
			}
			require.Same(t, m.Base(""), m.Base("elsewhere"))
		}
		fleet.Close()
	}
	require.Greater(t, some, 500)
}

// TestAFleetSaysWhenChangesWereAskedFor, except for what was there before it.
func TestAFleetSaysWhenChangesWereAskedFor(t *testing.T) {
	store := watchers.NewStore()
	fleet, err := NewMultiNodeResolver(store, MultiNodeConfig{})
	require.NoError(t, err)
	defer fleet.Close()
	slice := world{rand.New(rand.NewPCG(1, 3))}.mixed()
	now := time.Now()
	for ago, counts := range map[time.Duration]bool{-time.Second: true, time.Hour: false} {
		next := *slice
		next.TriggerTime = now.Add(-ago)
		next.Ports = append(slices.Clone(slice.Ports), watchers.EndpointPort{Name: ago.String(), Protocol: localsink.ProtocolTCP, Port: 1})
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(&next) })
		require.Equal(t, counts, len(fleet.Refresh().TriggerTimes) == 1, ago)
	}
}

// mixed is slice of either family, with hints for nodes, too.
func (w world) mixed() *watchers.EndpointSlice {
	s := w.slice()
	if w.IntN(2) == 0 {
		s.Family = watchers.IPv6
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if s.Family == watchers.IPv6 {
			e.Addr = netip.MustParseAddr(fmt.Sprint("fd00:1::", 1+w.IntN(6)))
		}
		if w.IntN(3) == 0 {
			e.Hints = &watchers.Hints{}
			for range w.IntN(3) {
				e.Hints.Nodes = append(e.Hints.Nodes, fmt.Sprint("node-", w.IntN(5)))
			}
		}
		if w.IntN(5) == 0 {
			e.Node = ""
		}
	}
	return s
}
