// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// consistentService returns a Service with consistent selection and each kind of frontend.
func consistentService(ip ipFamily, s localsink.Selection, pool localsink.Pool) *localsink.Service {
	svc := newTCPAndUDPService("consistent", []localsink.Pool{pool},
		newFrontend(localsink.KindClusterIP, ip.vip(1, 80)),
		newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30080"), localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Masquerade: true}))
	for i := range svc.Ports {
		svc.Ports[i].Selection = s
	}
	return svc
}

// predict returns the endpoint that package consistent selects for a client.
func predict(s localsink.Selection, pool localsink.Pool, client netip.AddrPort) string {
	var list []consistent.Endpoint
	for _, e := range pool.Endpoints {
		list = append(list, consistent.Endpoint{Addr: e.Addr, Weight: e.Weight})
	}
	table, hash := consistent.NewTable(list), consistent.HashClient(client.Addr())
	if s == localsink.SelectionFlow {
		hash = consistent.HashFlow(client)
	}
	return list[table[table.Slot(hash)]].Addr.String()
}

// requestFrom connects from the client and returns its address and the endpoint.
func (w *testbed) requestFrom(network, source, addr string) (client netip.AddrPort, server string) {
	w.t.Helper()
	c, err := w.dial(w.client, network, source, addr)
	require.NoError(w.t, err)
	defer c.Close()
	g, err := readResponse(c, network, w.timeout())
	require.NoError(w.t, err)
	return netip.MustParseAddrPort(c.LocalAddr().String()), g.server
}

// The kernel selects the endpoint that package consistent predicts.
func TestConsistentSelectionIsAsPredicted(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		var last serviceList
		for _, selection := range []localsink.Selection{localsink.SelectionClient, localsink.SelectionFlow} {
			for _, pool := range []localsink.Pool{
				weightedPool(ip, 1, 1, 1, 1), weightedPool(ip, 1, 1, 1), weightedPool(ip, 1, 5, 2), weightedPool(ip, 1), weightedPool(ip, 3, 3, 3, 3, 3),
			} {
				next := serviceList{consistentService(ip, selection, pool)}
				require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), last, next)))
				last = next
				w.clearUDPFlows()
				used := map[string]bool{}
				for _, c := range clients {
					for _, addr := range []string{ip.vip(1, 80), net.JoinHostPort(ip.node, "30080")} {
						client, server := w.requestFrom(network, c, addr)
						require.Equal(t, predict(selection, pool, client), server, "%v from %v", selection, client)
						used[server] = true
					}
				}
				require.Greater(t, len(used), len(pool.Endpoints)/2)
			}
		}
		w.sync()
	})
}

// A client of a port with affinity gets its first endpoint by the selection, and keeps it.
func TestConsistentSelectionWithAffinity(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		first, second := weightedPool(ip, 1, 1, 1), weightedPool(ip, 1, 1, 1, 1, 1, 1)
		service := func(pool localsink.Pool) *localsink.Service {
			s := consistentService(ip, localsink.SelectionClient, pool)
			s.Ports[0].Affinity, s.Ports[1].Affinity = time.Hour, time.Hour
			return s
		}
		before, after := service(first), service(second)
		w.sync(before)
		w.clearUDPFlows()
		held := map[string]string{}
		for _, c := range clients[:8] {
			client, server := w.requestFrom(network, c, ip.vip(1, 80))
			require.Equal(t, predict(localsink.SelectionClient, first, client), server)
			held[c] = server
		}
		require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), serviceList{before}, serviceList{after})))
		w.clearUDPFlows()
		for _, c := range clients {
			client, server := w.requestFrom(network, c, ip.vip(1, 80))
			want := held[c]
			if want == "" {
				want = predict(localsink.SelectionClient, second, client)
			}
			require.Equal(t, want, server)
		}
	})
}

// 40 clients get the same endpoints on two nodes. When an endpoint is removed, only its clients
// and at most 1 % of the others change theirs.
func TestConsistentSelectionOnTwoNodes(t *testing.T) {
	ip := ipFamilies()[0]
	nodes := []*testbed{newTestbed(t), newTestbed(t)}
	pool := weightedPool(ip, 1, 1, 1, 1)
	reached := make([]map[string]string, len(nodes))
	for i, w := range nodes {
		for pod := range 4 {
			w.startServers(w.pods, ip.pod(pod))
		}
		before := consistentService(ip, localsink.SelectionClient, pool)
		w.sync(before)
		reached[i] = map[string]string{}
		var clients []string
		for c := range 40 {
			clients = append(clients, netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + c)}).String())
			w.client.Address("eth0", clients[c]+"/24")
			reached[i][clients[c]] = w.endpointFor(w.client, "tcp", clients[c], ip.vip(1, 80))
		}
		removed := pool.Endpoints[1].Addr.String()
		after := consistentService(ip, localsink.SelectionClient, localsink.Pool{Endpoints: slices.Delete(slices.Clone(pool.Endpoints), 1, 2)})
		require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), serviceList{before}, serviceList{after})))
		moved := 0
		for _, c := range clients {
			if endpoint := w.endpointFor(w.client, "tcp", c, ip.vip(1, 80)); endpoint != reached[i][c] && reached[i][c] != removed {
				moved++
			}
		}
		require.LessOrEqual(t, moved, 1)
		require.EqualValues(t, 1, w.backend.Stats().Tables[0].Rebuilds)
	}
	require.Equal(t, reached[0], reached[1])
}

// All connections of a port with consistent selection are counted, in one count for all
// frontends, and the counts are read by few elements.
func TestConsistentConnectionsAreCounted(t *testing.T) {
	for _, ip := range ipFamilies() {
		t.Run(ip.name, func(t *testing.T) {
			w := newTestbed(t)
			for i := range 3 {
				w.startServers(w.pods, ip.pod(i))
			}
			require.NoError(t, w.backend.Close())
			b := backendIn(t, w.node, Config{CountConnections: true})
			total := func(s *localsink.Service) (sum uint64) {
				counts, err := b.EndpointConnections(context.Background(), s.Name)
				require.NoError(t, err)
				for _, c := range counts {
					sum += c.Count
				}
				return sum
			}
			first, second := consistentService(ip, localsink.SelectionFlow, weightedPool(ip, 1, 1, 1)), consistentService(ip, localsink.SelectionFlow, weightedPool(ip, 1, 2))
			require.NoError(t, b.Sync(context.Background(), firstUpdate(testNode(), first)))
			w.connect("tcp", ip.vip(1, 80), 10)
			w.connect("tcp", net.JoinHostPort(ip.node, "30080"), 5)
			require.EqualValues(t, 15, total(first))
			k := &readRecorder{transport: b.tables[0].kernel}
			b.tables[0].kernel = k
			total(first)
			require.LessOrEqual(t, k.gets, 2, "one for each protocol")
			require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), serviceList{first}, serviceList{second})))
			require.LessOrEqual(t, total(second), uint64(15))
			back := consistentService(ip, localsink.SelectionFlow, weightedPool(ip, 1, 1, 1))
			require.NoError(t, b.Sync(context.Background(), nextUpdate(testNode(), serviceList{second}, serviceList{back})))
			require.EqualValues(t, 15, total(back))
		})
	}
}
