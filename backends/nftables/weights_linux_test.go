// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// weightedPool returns a pool of endpoints of the testbed with these weights.
func weightedPool(ip ipFamily, weights ...uint32) localsink.Pool {
	var addrs []string
	for i := range weights {
		addrs = append(addrs, ip.pod(i))
	}
	p := newLocalPool(addrs...)
	for i := range weights {
		p.Endpoints[i].Weight = weights[i]
	}
	p.Endpoints = sortEndpoints(p.Endpoints)
	return p
}

// requireShares checks the distribution of counts with a chi-square test: with up to 3 degrees
// of freedom, a correct distribution fails once in 250,000 runs.
func requireShares(t *testing.T, count map[string]int, shares map[string]float64) {
	t.Helper()
	total := 0
	for _, n := range count {
		total += n
	}
	chi := 0.0
	for server, share := range shares {
		expected := share * float64(total)
		chi += (float64(count[server]) - expected) * (float64(count[server]) - expected) / expected
	}
	require.Len(t, count, len(shares))
	require.Less(t, chi, 28.0, "%v, want the shares %v", count, shares)
}

// 2,000 connections follow the weights, also after a change of the weights.
func TestConnectionsFollowWeights(t *testing.T) {
	w := newTestbed(t)
	for _, ip := range ipFamilies() {
		for i := range 4 {
			w.startServers(w.pods, ip.pod(i))
		}
		var last serviceList
		for _, weights := range [][]uint32{{1, 2, 3, 4}, {80, 20}, {1000001, 3000000, 500000}} {
			s := newService("a", localsink.Port{Pools: []localsink.Pool{weightedPool(ip, weights...)},
				Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(1, 80))}})
			next := serviceList{s}
			if last == nil {
				w.sync(next...)
			} else {
				require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), last, next)))
			}
			last = next
			count, shares, total := map[string]int{}, map[string]float64{}, 0.0
			for _, weight := range weights {
				total += float64(weight)
			}
			for i, weight := range weights {
				shares[ip.pod(i)] = float64(weight) / total
			}
			for range 2000 {
				g, err := w.request(w.client, "tcp", "", ip.vip(1, 80))
				require.NoError(t, err)
				count[g.server]++
			}
			requireShares(t, count, shares)
		}
		w.sync()
	}
}

// New clients of a port with affinity follow the weights, and keep their endpoints when weights
// change.
func TestAffinityFollowsWeights(t *testing.T) {
	w := newTestbed(t)
	clients := w.addClients()
	for _, ip := range ipFamilies() {
		for i := range 2 {
			w.startServers(w.pods, ip.pod(i))
		}
		service := func(weights ...uint32) *localsink.Service {
			return newService("a", localsink.Port{Affinity: time.Hour, Pools: []localsink.Pool{weightedPool(ip, weights...)},
				Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(1, 80))}})
		}
		// Without entries each connection is that of a new client.
		first := service(3, 1)
		w.sync(first)
		family := map[bool]string{true: "ip", false: "ip6"}[ip.client.Is4()]
		count := map[string]int{}
		for range 400 {
			g, err := w.request(w.client, "tcp", "", ip.vip(1, 80))
			require.NoError(t, err)
			count[g.server]++
			require.NoError(t, w.deleteEntries(family))
		}
		requireShares(t, count, map[string]float64{ip.pod(0): 0.75, ip.pod(1): 0.25})
		held := map[string]string{}
		for _, c := range clients(ip) {
			held[c] = w.endpointFor(w.client, "tcp", c, ip.vip(1, 80))
		}
		last := serviceList{first}
		for _, weights := range [][]uint32{{1, 5}, {300, 1}, {1, 1}, {2, 1}} {
			next := serviceList{service(weights...)}
			require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), last, next)))
			last = next
			for c, endpoint := range held {
				require.Equal(t, endpoint, w.endpointFor(w.client, "tcp", c, ip.vip(1, 80)))
			}
		}
		w.sync()
	}
}

// deleteEntries removes the affinity entries of a table, as if they had expired.
func (w *testbed) deleteEntries(family string) error {
	for _, t := range w.backend.tables {
		if t.family.name != family {
			continue
		}
		for _, a := range t.state.affinityPorts {
			elements, err := t.kernel.Elements(t.family.number, t.cfg.Table, a.entries.name)
			if err != nil {
				return err
			}
			tx := transaction{family: t.family, table: t.cfg.Table}
			for _, e := range elements {
				client, _ := netip.AddrFromSlice(e.Key)
				tx.remove(a.entries, element{key: frontendKey{addr: netip.AddrPortFrom(client, 0)}})
			}
			if err := t.kernel.Commit(tx.encode()); err != nil {
				return err
			}
		}
	}
	return nil
}
