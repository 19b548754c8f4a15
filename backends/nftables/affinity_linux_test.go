// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// clientCount is the number of client addresses in tests of affinity.
const clientCount = 16

// addClients adds addresses to the client's namespace and returns a function that returns
// those of one family.
func (w *testbed) addClients() func(ip ipFamily) []string {
	list := func(ip ipFamily) []string {
		var all []string
		for i := range clientCount {
			a := ip.client.AsSlice()
			a[len(a)-1] += byte(10 + i)
			addr, _ := netip.AddrFromSlice(a)
			all = append(all, addr.String())
		}
		return all
	}
	for _, ip := range ipFamilies() {
		for _, a := range list(ip) {
			w.client.Address("eth0", fmt.Sprintf("%s/%d", a, map[bool]int{true: 24, false: 64}[ip.client.Is4()]))
		}
	}
	return list
}

// forEachFamilyWithClients is forEachFamily with clientCount client addresses.
func forEachFamilyWithClients(t *testing.T, f func(w *testbed, ip ipFamily, network string, clients []string)) {
	var clients func(ipFamily) []string
	var last *testbed
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		if last == nil || last.node != w.node {
			clients = w.addClients()
		}
		last = w
		f(w, ip, network, clients(ip))
		require.Zero(w.t, w.backend.Stats().ExternalChanges, "affinity entries are not external changes")
		w.sync()
	})
}

// affinityService returns a Service with affinity and each kind of frontend.
func affinityService(ip ipFamily, affinity time.Duration, pods ...int) *localsink.Service {
	var addrs []string
	for _, i := range pods {
		addrs = append(addrs, ip.pod(i))
	}
	pool := newLocalPool(addrs...)
	pool.Endpoints = sortEndpoints(pool.Endpoints)
	s := newTCPAndUDPService("affinity", []localsink.Pool{pool},
		newFrontend(localsink.KindClusterIP, ip.vip(1, 80)),
		newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30080"), localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Masquerade: true}),
		newFrontend(localsink.KindLoadBalancer, ip.vip(2, 80), localsink.Route{Masquerade: true}))
	for i := range s.Ports {
		s.Ports[i].Affinity = affinity
	}
	return s
}

// endpointFor returns the endpoint that a client reaches.
func (w *testbed) endpointFor(ns *netnstest.Namespace, network, source, addr string) string {
	w.t.Helper()
	g, err := w.request(ns, network, source, addr)
	require.NoError(w.t, err, "%s %s", network, addr)
	return g.server
}

// clearUDPFlows deletes the conntrack entries of UDP. A client that reuses a source port would
// otherwise continue an old flow, whatever its affinity entry.
func (w *testbed) clearUDPFlows() {
	w.t.Helper()
	udp := &netlink.ConntrackFilter{}
	require.NoError(w.t, udp.AddProtocol(uint8(localsink.ProtocolUDP)))
	for _, family := range []netlink.InetFamily{syscall.AF_INET, syscall.AF_INET6} {
		w.node.Do(func() error {
			_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, udp)
			return err
		})
	}
}

// endpointsByClient returns the endpoint that each client reaches.
func (w *testbed) endpointsByClient(network string, clients []string, addr string) map[string]string {
	w.t.Helper()
	if network == "udp" {
		w.clearUDPFlows()
	}
	all := map[string]string{}
	for _, c := range clients {
		all[c] = w.endpointFor(w.client, network, c, addr)
	}
	return all
}

func distinct(byClient map[string]string) map[string]bool {
	all := map[string]bool{}
	for _, endpoint := range byClient {
		all[endpoint] = true
	}
	return all
}

// syncChange replaces the Service from by to.
func (w *testbed) syncChange(from, to *localsink.Service) {
	w.t.Helper()
	require.NoError(w.t, w.backend.Sync(context.Background(), nextUpdate(testNode(), serviceList{from}, serviceList{to})))
	w.clearUDPFlows()
}

// countAffinityEntries returns the number of affinity entries in the kernel.
func (w *testbed) countAffinityEntries() int {
	n := 0
	for _, family := range []string{"ip", "ip6"} {
		out, err := w.node.Command("nft", "list", "table", family, DefaultTable)
		require.NoError(w.t, err)
		n += strings.Count(out, " expires ")
	}
	return n
}

func TestAffinityKeepsEndpoint(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		w.sync(affinityService(ip, time.Hour, 0, 1, 2, 3, 4, 5))
		ways := []string{ip.vip(1, 80), net.JoinHostPort(ip.node, "30080"), ip.vip(2, 80)}
		first := w.endpointsByClient(network, clients, ways[0])
		require.Greater(w.t, len(distinct(first)), 1)
		for range 3 {
			for _, way := range ways {
				require.Equal(w.t, first, w.endpointsByClient(network, clients, way))
			}
		}
		for ns, source := range map[*netnstest.Namespace]string{w.otherPod: "", w.node: ip.node} {
			endpoint := w.endpointFor(ns, network, source, ways[0])
			for i := range 12 {
				require.Equal(w.t, endpoint, w.endpointFor(ns, network, source, ways[i%3]))
			}
		}
	})
}

func TestAffinityHairpinIsMasqueraded(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, _ []string) {
		last := affinityService(ip, time.Hour, 0)
		w.sync(last)
		source := netip.MustParseAddrPort(ip.pod(0)).Addr().String()
		w.requireResponse(w.pods, network, source, ip.vip(1, 80), response{ip.gateway, ip.pod(0)})
		for _, pods := range [][]int{{0, 1}, {0}} {
			next := affinityService(ip, time.Hour, pods...)
			w.syncChange(last, next)
			w.requireResponse(w.pods, network, source, ip.vip(1, 80), response{ip.gateway, ip.pod(0)})
			last = next
		}
	})
}

func TestAffinityIsPerPort(t *testing.T) {
	w := newTestbed(t)
	ip := ipFamilies()[0]
	for i := range 4 {
		w.startServers(w.pods, ip.pod(i))
	}
	clients := w.addClients()(ip)
	s := affinityService(ip, time.Hour, 0, 1, 2, 3)
	s.Ports[0].Name, s.Ports[1].Name, s.Ports[1].Protocol = "a", "b", localsink.ProtocolTCP
	s.Ports[1].Frontends = []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(1, 81))}
	w.sync(s)
	first, second := w.endpointsByClient("tcp", clients, ip.vip(1, 80)), w.endpointsByClient("tcp", clients, ip.vip(1, 81))
	require.NotEqual(t, first, second)
	require.Equal(t, first, w.endpointsByClient("tcp", clients, ip.vip(1, 80)))
	require.Equal(t, second, w.endpointsByClient("tcp", clients, ip.vip(1, 81)))
}

// The timeout counts from the last new connection.
func TestAffinityExpires(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		all := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
		s := affinityService(ip, time.Second, all...)
		w.sync(s)
		first := w.endpointFor(w.client, network, "", ip.vip(1, 80))
		for began := time.Now(); time.Since(began) < 2500*time.Millisecond; {
			require.Equal(w.t, first, w.endpointFor(w.client, network, "", ip.vip(1, 80)))
		}
		// A new timeout applies to new entries at once, and shortens longer lifetimes.
		long, short := affinityService(ip, time.Hour, all...), affinityService(ip, 100*time.Millisecond, all...)
		w.syncChange(s, long)
		first = w.endpointFor(w.client, network, "", ip.vip(1, 80))
		w.syncChange(long, short)
		expired := func() bool { return w.countAffinityEntries() == 0 }
		require.Eventually(w.t, expired, 5*time.Second, 5*time.Millisecond)
		require.Eventually(w.t, func() bool {
			require.Eventually(w.t, expired, 5*time.Second, 5*time.Millisecond)
			return w.endpointFor(w.client, network, "", ip.vip(1, 80)) != first
		}, 30*time.Second, time.Millisecond)
	})
}

// Clients of a removed endpoint get other endpoints and keep those.
func TestAffinityMovesOnlyClientsOfRemovedEndpoints(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		pods := []int{0, 2, 4, 6, 8}
		last := affinityService(ip, time.Hour, pods...)
		w.sync(last)
		held := w.endpointsByClient(network, clients, ip.vip(1, 80))
		for i, next := range [][]int{{0, 2, 6, 8}, {0, 1, 2, 6, 8}, {1, 2, 3, 8}, {2, 3, 4, 5, 7, 8, 9, 10, 11}, {3}, {3, 4}, {5}} {
			s := affinityService(ip, time.Hour, next...)
			w.syncChange(last, s)
			now := w.endpointsByClient(network, clients, []string{ip.vip(1, 80), ip.vip(2, 80)}[i%2])
			for _, c := range clients {
				if slices.ContainsFunc(next, func(i int) bool { return ip.pod(i) == held[c] }) {
					require.Equal(w.t, held[c], now[c], "client %s, step %d", c, i)
				} else {
					require.True(w.t, slices.ContainsFunc(next, func(i int) bool { return ip.pod(i) == now[c] }))
				}
			}
			require.Equal(w.t, now, w.endpointsByClient(network, clients, ip.vip(1, 80)))
			held, last = now, s
		}
		// All endpoints are removed, and one is added again.
		none := affinityService(ip, time.Hour)
		w.syncChange(last, none)
		w.requireRefused(w.client, network, clients[0], ip.vip(1, 80))
		w.syncChange(none, last)
		require.Equal(w.t, held, w.endpointsByClient(network, clients, ip.vip(1, 80)))
	})
}

func TestAffinitySurvivesRebuildAndRestart(t *testing.T) {
	w := newTestbed(t)
	list := w.addClients()
	var all serviceList
	for _, ip := range ipFamilies() {
		for i := range podCount {
			w.startServers(w.pods, ip.pod(i))
		}
		s := affinityService(ip, time.Hour, 0, 1, 2, 3, 4, 5, 6, 7)
		s.Name.Name += ip.name
		for i := range s.Ports {
			s.Ports[i].Frontends[1].Addr = netip.AddrPortFrom(s.Ports[i].Frontends[1].Addr.Addr(), uint16(30080+i))
		}
		all = append(all, s)
	}
	w.sync(all...)
	endpoints := func() (held []map[string]string) {
		for _, ip := range ipFamilies() {
			for _, network := range networks() {
				held = append(held, w.endpointsByClient(network, list(ip), ip.vip(1, 80)))
			}
		}
		return held
	}
	held := endpoints()
	for range 2 {
		w.backend.monitor.Report()
		require.NoError(t, w.backend.Sync(context.Background(), &localsink.Update{Node: testNode(), All: all}))
		require.Equal(t, held, endpoints())
		n := testNode()
		n.NodePortAddresses = nil
		require.NoError(t, w.backend.Sync(context.Background(), &localsink.Update{Node: n, NodeChanged: true, All: all}))
		require.Equal(t, held, endpoints())
		require.NoError(t, w.backend.Close())
		require.Equal(t, held, endpoints())
		w.backend = w.newBackend()
		w.sync(all...)
		require.Equal(t, held, endpoints())
	}
	// An endpoint that was removed during the restart is not used, and lifetimes go on.
	require.NoError(t, w.backend.Close())
	w.backend = w.newBackend()
	gone := map[string]bool{}
	for i, ip := range ipFamilies() {
		all[i] = &localsink.Service{Name: all[i].Name, Ports: slices.Clone(all[i].Ports)}
		for j := range all[i].Ports {
			all[i].Ports[j].Affinity = 30 * time.Minute
			all[i].Ports[j].Pools = []localsink.Pool{{Endpoints: all[i].Ports[j].Pools[0].Endpoints[3:]}}
		}
		gone[ip.pod(0)], gone[ip.pod(1)], gone[ip.pod(2)] = true, true, true
	}
	w.sync(all...)
	out, err := w.node.Command("nft", "list", "table", "ip", DefaultTable)
	require.NoError(t, err)
	require.Contains(t, out, "expires 29m")
	require.NotContains(t, out, "expires 5")
	for i, now := range endpoints() {
		for client, endpoint := range now {
			require.False(t, gone[endpoint])
			if !gone[held[i][client]] {
				require.Equal(t, held[i][client], endpoint)
			}
		}
	}
	// After a flush of the ruleset affinity starts anew.
	_, err = w.node.Command("nft", "flush", "ruleset")
	require.NoError(t, err)
	<-w.backend.ResyncRequested()
	require.NoError(t, w.backend.Sync(context.Background(), &localsink.Update{Node: testNode(), All: all}))
	held = endpoints()
	require.Equal(t, held, endpoints())
}

// A change takes effect at once and leaves no objects behind.
func TestAffinityCanBeToggled(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		off, on := affinityService(ip, 0, 0, 1, 2, 3), affinityService(ip, time.Hour, 0, 1, 2, 3)
		w.sync(off)
		spread := func() bool {
			all := map[string]string{}
			for i := range 30 {
				all[fmt.Sprint(i)] = w.endpointFor(w.client, network, "", ip.vip(1, 80))
			}
			return len(distinct(all)) > 1
		}
		rebuilds := w.backend.Stats().Tables[0].Rebuilds
		before := w.backend.Stats().Tables[0].Chains
		for range 2 {
			require.True(w.t, spread())
			w.syncChange(off, on)
			require.False(w.t, spread())
			w.syncChange(on, off)
			require.Zero(w.t, w.countAffinityEntries())
		}
		require.True(w.t, spread())
		w.syncChange(off, on)
		require.NoError(w.t, w.backend.Sync(context.Background(), nextUpdate(testNode(), serviceList{on}, nil)))
		w.requireRefused(w.client, network, "", net.JoinHostPort(ip.node, "30080"))
		for _, family := range []string{"ip", "ip6"} {
			out, err := w.node.Command("nft", "list", "table", family, DefaultTable)
			require.NoError(w.t, err)
			require.NotContains(w.t, out, prefixAffinity)
		}
		require.Equal(w.t, rebuilds, w.backend.Stats().Tables[0].Rebuilds)
		require.LessOrEqual(w.t, w.backend.Stats().Tables[0].Chains, before+maxUnusedChains)
	})
}

// An affinity entry applies to all pools that contain its endpoint.
func TestAffinityIsSharedByPools(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		nodePort := net.JoinHostPort(ip.node, "30080")
		build := func(all, local []int) *localsink.Service {
			s, inner := affinityService(ip, time.Hour, all...), affinityService(ip, time.Hour, local...)
			for i := range s.Ports {
				s.Ports[i].Pools = append(slices.Clone(s.Ports[i].Pools), inner.Ports[i].Pools...)
				for j := range s.Ports[i].Frontends[1:] {
					s.Ports[i].Frontends[1+j].Routes = []localsink.Route{{From: localsink.FromLocalPods}, {Pool: 1, Masquerade: true}}
				}
			}
			return s
		}
		among := func(endpoint string, pods []int) bool {
			return slices.ContainsFunc(pods, func(i int) bool { return ip.pod(i) == endpoint })
		}
		var last *localsink.Service
		for _, c := range []struct{ all, local []int }{
			{[]int{0, 1, 2, 3, 4}, []int{1, 3, 4}},
			{[]int{0, 1, 2, 3, 4, 5, 6}, []int{1, 3, 4, 5}}, // slots are added, and out of order
			{[]int{2, 3, 4, 5, 6}, []int{3, 4, 5}},
			{[]int{2, 3, 4, 5, 6}, []int{6}},
			{[]int{2, 6}, []int{2, 6, 7, 8}},
		} {
			s := build(c.all, c.local)
			if last == nil {
				w.sync(s)
			} else {
				w.syncChange(last, s)
			}
			last = s
			inside := w.endpointsByClient(network, clients, ip.vip(1, 80))
			require.Equal(w.t, inside, w.endpointsByClient(network, clients, ip.vip(1, 80)))
			outside := w.endpointsByClient(network, clients, nodePort)
			for _, client := range clients {
				require.True(w.t, among(inside[client], c.all))
				require.True(w.t, among(outside[client], c.local))
				if among(inside[client], c.local) {
					require.Equal(w.t, inside[client], outside[client])
				}
			}
			for range 2 {
				require.Equal(w.t, outside, w.endpointsByClient(network, clients, nodePort))
				require.Equal(w.t, outside, w.endpointsByClient(network, clients, ip.vip(2, 80)))
			}
			for client, endpoint := range w.endpointsByClient(network, clients, ip.vip(1, 80)) {
				require.Equal(w.t, among(outside[client], c.all), endpoint == outside[client])
			}
			endpoint := w.endpointFor(w.otherPod, network, "", ip.vip(1, 80))
			for range 8 {
				require.Equal(w.t, endpoint, w.endpointFor(w.otherPod, network, "", nodePort))
			}
		}
		_, err := w.node.Command("nft", "list", "ruleset")
		require.NoError(w.t, err)
	})
}

func TestAffinityPreservesPacketMarks(t *testing.T) {
	w := newTestbed(t)
	for _, ip := range ipFamilies() {
		for i := range 4 {
			w.startServers(w.pods, ip.pod(i))
		}
		w.sync(affinityService(ip, time.Hour, 0, 1, 2, 3))
		_, err := w.node.Command("nft", "flush table inet marks; delete table inet marks")
		if err != nil {
			require.ErrorContains(t, err, "No such file")
		}
		_, err = w.node.Command("nft", "add table inet marks; "+
			"add chain inet marks first { type filter hook prerouting priority mangle; }; "+
			"add rule inet marks first meta mark set 0x1230; "+
			"add chain inet marks last { type filter hook forward priority filter; }; "+
			"add rule inet marks last ct direction original meta mark & 0xbfff != 0x1230 drop")
		require.NoError(t, err)
		for range 4 {
			for _, way := range []string{ip.vip(1, 80), ip.vip(2, 80)} {
				w.endpointFor(w.client, "tcp", "", way)
			}
		}
	}
}

func TestFullAffinityMapStillBalances(t *testing.T) {
	w := newTestbed(t)
	ip := ipFamilies()[0]
	for i := range 4 {
		w.startServers(w.pods, ip.pod(i))
	}
	s := affinityService(ip, time.Hour, 0, 1, 2, 3)
	w.sync(s)
	held := w.endpointFor(w.client, "tcp", "", ip.vip(1, 80))
	var text strings.Builder
	for i := range maxAffinityEntries - 1 {
		if i%1000 == 0 {
			fmt.Fprintf(&text, "\nadd element ip kpng %s ", entriesMapName(affinityIDOf(s, 0), 0))
		}
		fmt.Fprintf(&text, "%s 10.200.%d.%d : none", map[bool]string{true: "{", false: ","}[i%1000 == 0], i>>8, i&255)
		if i%1000 == 999 || i == maxAffinityEntries-2 {
			text.WriteString(" }")
		}
	}
	file := filepath.Join(t.TempDir(), "entries.nft")
	require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
	_, err := w.node.Command("nft", "-f", file)
	require.NoError(t, err)
	require.Equal(t, maxAffinityEntries, w.countAffinityEntries())
	for range 20 {
		w.endpointFor(w.otherPod, "tcp", "", ip.vip(1, 80))
		require.Equal(t, held, w.endpointFor(w.client, "tcp", "", ip.vip(1, 80)))
	}
	// A rebuild copies all entries.
	w.backend.monitor.Report()
	began := time.Now()
	require.NoError(t, w.backend.Sync(context.Background(), &localsink.Update{Node: testNode(), All: serviceList{s}}))
	t.Logf("copied %d affinity entries in %v", maxAffinityEntries, time.Since(began))
	require.Equal(t, maxAffinityEntries, w.countAffinityEntries())
	require.Equal(t, held, w.endpointFor(w.client, "tcp", "", ip.vip(1, 80)))
}
