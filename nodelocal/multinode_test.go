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

// TestCachedResultsEqualSingleResults compares the overlays and bases that a ResolvedService
// caches for all nodes and zones with those that it computes for one.
func TestCachedResultsEqualSingleResults(t *testing.T) {
	compared := 0
	for seed := range uint64(300) {
		g := generator{rand.New(rand.NewPCG(seed, 3))}
		store := watchers.NewStore()
		resolver, err := NewMultiNodeResolver(store, MultiNodeConfig{})
		require.NoError(t, err)
		store.Update(func(tx *watchers.Tx) {
			for range 10 {
				svc := g.service()
				if g.IntN(2) == 0 {
					svc.Type, svc.ExternalPolicy = watchers.TypeLoadBalancer, watchers.PolicyLocal
				}
				tx.SetService(svc)
			}
			for range 30 {
				tx.SetEndpointSlice(g.mixedSlice())
			}
			tx.SetSynced()
		})
		for _, svc := range resolver.Refresh().Services {
			if svc == nil {
				continue
			}
			want := map[string]*overlay.Overlay{}
			for i := range 5 {
				node := fmt.Sprint("node-", i)
				if o := svc.Overlay(node); o != nil {
					want[node] = o
				}
			}
			all := svc.Overlays()
			require.Len(t, all, len(want), "seed %d", seed)
			for node, o := range want {
				require.True(t, o.Equal(all[node]), "seed %d: %s: want\n%+v, got\n%+v", seed, node, o, all[node])
				require.Same(t, all[node], svc.Overlay(node))
				compared++
			}
			for _, zone := range []string{"", "zone-0", "zone-1", "elsewhere"} {
				base, _ := svc.newBase(zone, nil)
				require.Equal(t, base, svc.Base(zone), "seed %d: a zone without hints has the base of nodes without a zone", seed)
				require.Same(t, svc.Base(zone), svc.Base(zone))
			}
			require.Same(t, svc.Base(""), svc.Base("elsewhere"))
		}
		require.NoError(t, resolver.Close())
	}
	require.Greater(t, compared, 500)
}

// TestChangesHaveTriggerTimes: times before the creation of the resolver are left out.
func TestChangesHaveTriggerTimes(t *testing.T) {
	store := watchers.NewStore()
	resolver, err := NewMultiNodeResolver(store, MultiNodeConfig{})
	require.NoError(t, err)
	defer resolver.Close()
	slice := generator{rand.New(rand.NewPCG(1, 3))}.mixedSlice()
	now := time.Now()
	for ago, counts := range map[time.Duration]bool{-time.Second: true, time.Hour: false} {
		next := *slice
		next.TriggerTime = now.Add(-ago)
		next.Ports = append(slices.Clone(slice.Ports), watchers.EndpointPort{Name: ago.String(), Protocol: localsink.ProtocolTCP, Port: 1})
		store.Update(func(tx *watchers.Tx) { tx.SetEndpointSlice(&next) })
		require.Equal(t, counts, len(resolver.Refresh().TriggerTimes) == 1, ago)
	}
}

// mixedSlice returns a random EndpointSlice of either family, also with node hints.
func (g generator) mixedSlice() *watchers.EndpointSlice {
	s := g.slice()
	if g.IntN(2) == 0 {
		s.Family = watchers.FamilyIPv6
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if s.Family == watchers.FamilyIPv6 {
			e.Addr = netip.MustParseAddr(fmt.Sprint("fd00:1::", 1+g.IntN(6)))
		}
		if g.IntN(3) == 0 {
			e.Hints = &watchers.Hints{}
			for range g.IntN(3) {
				e.Hints.Nodes = append(e.Hints.Nodes, fmt.Sprint("node-", g.IntN(5)))
			}
		}
		if g.IntN(5) == 0 {
			e.Node = ""
		}
	}
	return s
}
