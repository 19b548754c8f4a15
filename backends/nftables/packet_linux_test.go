// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

func networks() []string { return []string{"tcp", "udp"} }

// An ipFamily holds the addresses of the packet tests for one address family.
type ipFamily struct {
	name              string
	client, otherPod  netip.Addr
	vip               func(i int, port int) string // i-th address of Services
	pod               func(i int) string           // endpoint i, with its port
	node, unspecified string
	gateway           netip.Addr // address of the node in the pod network
}

func ipFamilies() []ipFamily {
	v4 := ipFamily{
		name: "IPv4", client: netip.MustParseAddr(clientV4), otherPod: netip.MustParseAddr(otherPodV4),
		vip:  func(i, port int) string { return fmt.Sprintf("10.96.0.%d:%d", i, port) },
		pod:  func(i int) string { return pod4(i) + ":8080" },
		node: nodeV4, unspecified: "0.0.0.0", gateway: netip.MustParseAddr(podGatewayV4),
	}
	v6 := ipFamily{
		name: "IPv6", client: netip.MustParseAddr(clientV6), otherPod: netip.MustParseAddr(otherPodV6),
		vip:  func(i, port int) string { return fmt.Sprintf("[fd00:96::%x]:%d", i, port) },
		pod:  func(i int) string { return "[" + pod6(i) + "]:8080" },
		node: nodeV6, unspecified: "::", gateway: netip.MustParseAddr(podGatewayV6),
	}
	return []ipFamily{v4, v6}
}

// newTCPAndUDPService returns a Service with the same frontends for TCP and for UDP.
func newTCPAndUDPService(name string, pools []localsink.Pool, frontends ...localsink.Frontend) *localsink.Service {
	s := newService(name, localsink.Port{Pools: pools, Frontends: frontends})
	s.Ports = append(s.Ports, s.Ports[0])
	s.Ports[1].Protocol = localsink.ProtocolUDP
	return s
}

// forEachFamily runs f for both families and both protocols, with one testbed.
func forEachFamily(t *testing.T, f func(w *testbed, ip ipFamily, network string)) {
	w := newTestbed(t)
	for _, ip := range ipFamilies() {
		for i := range podCount {
			w.startServers(w.pods, ip.pod(i))
		}
		for _, network := range networks() {
			t.Run(ip.name+" "+network, func(t *testing.T) {
				inner := *w
				inner.t = t
				f(&inner, ip, network)
			})
		}
	}
}

// requireResponse checks which server answers, and which client address it sees.
func (w *testbed) requireResponse(ns *netnstest.Namespace, network, source, addr string, want response) {
	w.t.Helper()
	g, err := w.request(ns, network, source, addr)
	require.NoError(w.t, err, "%s %s", network, addr)
	require.Equal(w.t, want, g)
}

func TestClusterIPReachesEndpoint(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		vip, endpoint := ip.vip(1, 80), ip.pod(0)
		w.sync(newTCPAndUDPService("a", []localsink.Pool{newLocalPool(endpoint)}, newFrontend(localsink.KindClusterIP, vip)))
		w.requireResponse(w.client, network, "", vip, response{ip.client, endpoint})
		w.requireResponse(w.otherPod, network, "", vip, response{ip.otherPod, endpoint})
		g, err := w.request(w.node, network, "", vip)
		require.NoError(t, err)
		require.Equal(t, endpoint, g.server)
		// Connections to other ports are rejected for all clients.
		for _, ns := range []*netnstest.Namespace{w.client, w.otherPod, w.node} {
			w.requireRefused(ns, network, "", ip.vip(1, 81))
		}
	})
}

func TestHairpinIsMasqueraded(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		vip, endpoint := ip.vip(1, 80), ip.pod(0)
		w.sync(newTCPAndUDPService("a", []localsink.Pool{newLocalPool(endpoint)}, newFrontend(localsink.KindClusterIP, vip)))
		source := netip.MustParseAddrPort(endpoint).Addr().String()
		w.requireResponse(w.pods, network, source, vip, response{ip.gateway, endpoint})
	})
}

// The node rejects connections to Service addresses that it has no route to.
func TestRejectWithoutRoute(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		w.sync(newTCPAndUDPService("a", []localsink.Pool{{}}, newFrontend(localsink.KindClusterIP, ip.vip(1, 80))))
		for _, args := range [][]string{{"route", "del", "default"}, {"-6", "route", "del", "default"}} {
			_, _ = w.node.Command("ip", args...) // fails in the second round
		}
		w.requireRefused(w.client, network, "", ip.vip(1, 80))
		w.requireRefused(w.otherPod, network, "", ip.vip(1, 81))
	})
}

func TestUnallocatedClusterIPsAreDropped(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		n := testNode()
		n.ServiceNetworks = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/108")}
		s := newTCPAndUDPService("a", []localsink.Pool{newLocalPool(ip.pod(0))}, newFrontend(localsink.KindClusterIP, ip.vip(1, 80)))
		require.NoError(t, w.backend.Sync(context.Background(), firstUpdate(n, s)))
		for _, ns := range []*netnstest.Namespace{w.client, w.otherPod, w.node} {
			_, err := w.request(ns, network, "", ip.vip(1, 80))
			require.NoError(t, err)
			w.requireSilent(ns, network, ip.vip(9, 80))
			w.requireRefused(ns, network, "", ip.vip(1, 81))
		}
	})
}

func TestNodePortAnswersOnNodePortAddresses(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		endpoint, on := ip.pod(1), func(addr string) string { return net.JoinHostPort(addr, "30080") }
		s := newTCPAndUDPService("a", []localsink.Pool{newLocalPool(endpoint)}, newFrontend(localsink.KindNodePort, on(ip.unspecified), localsink.Route{Masquerade: true}))
		w.sync(s)
		w.requireResponse(w.client, network, "", on(ip.node), response{ip.gateway, endpoint})
		w.requireResponse(w.otherPod, network, "", on(ip.node), response{ip.gateway, endpoint})
		w.requireResponse(w.node, network, "", on(ip.node), response{ip.gateway, endpoint})
		w.requireRefused(w.client, network, "", net.JoinHostPort(ip.node, "30081"))
		w.requireRefused(w.client, network, "", on(ip.otherPod.String())) // forwarded, not addressed to this node
		w.requireRefused(w.node, network, "", on("::1"))
		w.requireRefused(w.node, network, "", on("127.0.0.1"))
		if ip.name == "IPv4" {
			w.requireRefused(w.client, network, "", on(nodeOtherV4))
			n := testNode()
			n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
			require.NoError(t, w.backend.Sync(context.Background(), firstUpdate(n, s)))
			w.requireResponse(w.client, network, "", on(nodeOtherV4), response{ip.gateway, endpoint})
			w.requireRefused(w.node, network, "", on("127.0.0.1"))
		}
	})
}

func TestExternalAddressesHonourSourceRanges(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		external, balanced, closed, endpoint := ip.vip(10, 80), ip.vip(11, 80), ip.vip(12, 80), ip.pod(2)
		lb := newFrontend(localsink.KindLoadBalancer, balanced, localsink.Route{Masquerade: true})
		lb.SourceRanges = []netip.Prefix{netip.PrefixFrom(ip.client, ip.client.BitLen())}
		blocked := newFrontend(localsink.KindLoadBalancer, closed)
		blocked.SourceRanges = []netip.Prefix{}
		w.sync(newTCPAndUDPService("a", []localsink.Pool{newLocalPool(endpoint)}, newFrontend(localsink.KindExternalIP, external), lb, blocked))
		w.requireResponse(w.client, network, "", external, response{ip.client, endpoint})
		w.requireResponse(w.otherPod, network, "", external, response{ip.otherPod, endpoint})
		w.requireResponse(w.client, network, "", balanced, response{ip.gateway, endpoint})
		w.requireSilent(w.otherPod, network, balanced)
		w.requireSilent(w.node, network, balanced)
		w.requireSilent(w.client, network, closed)
	})
}

func TestEmptyPoolsRejectOrDrop(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		w.sync(newTCPAndUDPService("a", []localsink.Pool{{}},
			newFrontend(localsink.KindExternalIP, ip.vip(1, 80), localsink.Route{EmptyVerdict: localsink.VerdictReject}),
			newFrontend(localsink.KindExternalIP, ip.vip(2, 80), localsink.Route{EmptyVerdict: localsink.VerdictDrop}),
			newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30080"))))
		for _, ns := range []*netnstest.Namespace{w.client, w.otherPod, w.node} {
			w.requireRefused(ns, network, "", ip.vip(1, 80))
			w.requireSilent(ns, network, ip.vip(2, 80))
			w.requireRefused(ns, network, "", net.JoinHostPort(ip.node, "30080"))
		}
	})
}

func TestRoutesFollowClientKind(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		pools := []localsink.Pool{newLocalPool(ip.pod(0)), newLocalPool(ip.pod(1)), newLocalPool(ip.pod(2)), {}}
		routes := func(last localsink.Route) []localsink.Route {
			return []localsink.Route{{From: localsink.FromLocalPods, Pool: 0}, {From: localsink.FromThisNode, Pool: 1, Masquerade: true}, last}
		}
		all := newFrontend(localsink.KindExternalIP, ip.vip(1, 80), routes(localsink.Route{Pool: 2})...)
		port := newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30080"), routes(localsink.Route{Pool: 3, EmptyVerdict: localsink.VerdictDrop})...)
		w.sync(newTCPAndUDPService("a", pools, all, port))
		for _, addr := range []string{ip.vip(1, 80), net.JoinHostPort(ip.node, "30080")} {
			w.requireResponse(w.otherPod, network, "", addr, response{ip.otherPod, ip.pod(0)})
			w.requireResponse(w.node, network, ip.node, addr, response{ip.gateway, ip.pod(1)})
		}
		w.requireResponse(w.client, network, "", ip.vip(1, 80), response{ip.client, ip.pod(2)})
		w.requireSilent(w.client, network, net.JoinHostPort(ip.node, "30080"))
	})
}

func TestPodsAreMatchedByInterface(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		s := newTCPAndUDPService("a", []localsink.Pool{newLocalPool(ip.pod(0)), newLocalPool(ip.pod(1))},
			newFrontend(localsink.KindClusterIP, ip.vip(1, 80), localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Pool: 1}))
		for _, c := range []struct {
			sources  localsink.PodSources
			endpoint int
		}{
			{localsink.PodSources{Interface: "pods1"}, 0},
			{localsink.PodSources{Interface: "pods"}, 1},
			{localsink.PodSources{InterfacePrefix: "pods"}, 0},
			{localsink.PodSources{InterfacePrefix: "outside"}, 1},
			{localsink.PodSources{}, 1},
			{localsink.PodSources{Interface: "a-name-that-is-too-long", InterfacePrefix: "pods1"}, 0},
		} {
			n := testNode()
			n.LocalPods = c.sources
			require.NoError(t, w.backend.Sync(context.Background(), firstUpdate(n, s)))
			w.requireResponse(w.otherPod, network, "", ip.vip(1, 80), response{ip.otherPod, ip.pod(c.endpoint)})
		}
	})
}

func TestProtocolsAreSeparateFrontends(t *testing.T) {
	w := newTestbed(t)
	ip := ipFamilies()[0]
	w.startServers(w.pods, ip.pod(0), ip.pod(1))
	s := newTCPAndUDPService("a", []localsink.Pool{newLocalPool(ip.pod(0))}, newFrontend(localsink.KindClusterIP, ip.vip(1, 53)))
	s.Ports[1].Pools = []localsink.Pool{newLocalPool(ip.pod(1))}
	w.sync(s)
	w.requireResponse(w.client, "tcp", "", ip.vip(1, 53), response{ip.client, ip.pod(0)})
	w.requireResponse(w.client, "udp", "", ip.vip(1, 53), response{ip.client, ip.pod(1)})
	only := &localsink.Service{Name: s.Name, Ports: s.Ports[1:]}
	require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), serviceList{s}, serviceList{only})))
	w.requireRefused(w.client, "tcp", "", ip.vip(1, 53))
	w.requireResponse(w.client, "udp", "", ip.vip(1, 53), response{ip.client, ip.pod(1)})
}

// The distribution does not depend on how endpoints were assigned to slots.
func TestConnectionsSpreadUniformly(t *testing.T) {
	w := newTestbed(t)
	for _, ip := range ipFamilies() {
		var last serviceList
		for _, pods := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7, 8}, {1, 2, 3, 4, 5, 6, 7, 8}, {0, 2, 4, 6, 8, 9, 10}, {3, 10}} {
			var addrs []string
			for _, i := range pods {
				addrs = append(addrs, ip.pod(i))
			}
			next := serviceList{newService("a", localsink.Port{Pools: []localsink.Pool{newLocalPool(addrs...)}, Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(1, 80))}})}
			if last == nil {
				for i := range podCount {
					w.startServers(w.pods, ip.pod(i))
				}
				w.sync(next...)
			} else {
				require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), last, next)))
			}
			last = next
			const rounds = 150 // for each endpoint
			count := map[string]int{}
			for range rounds * len(pods) {
				g, err := w.request(w.client, "tcp", "", ip.vip(1, 80))
				require.NoError(t, err)
				count[g.server]++
			}
			require.Len(t, count, len(pods))
			chi := 0.0
			for _, n := range count {
				chi += float64((n-rounds)*(n-rounds)) / rounds
			}
			require.Less(t, chi, 40.0, count) // probability about 1 in 300,000 with 8 degrees of freedom
		}
	}
}

// A traffic keeps connections open and opens new ones until it is stopped.
type traffic struct {
	w         *testbed
	conns     []net.Conn
	stop      chan struct{}
	wg        sync.WaitGroup
	connected atomic.Int64
	failures  chan error
}

func (w *testbed) startTraffic(addr string) *traffic {
	tr := &traffic{w: w, stop: make(chan struct{}), failures: make(chan error, 100)}
	for range 10 {
		c, err := w.dial(w.client, "tcp", "", addr)
		require.NoError(w.t, err)
		_, err = readResponse(c, "tcp", w.timeout())
		require.NoError(w.t, err)
		tr.conns = append(tr.conns, c)
	}
	tr.wg.Go(func() {
		for {
			select {
			case <-tr.stop:
				return
			default:
			}
			if _, err := w.request(w.client, "tcp", "", addr); err != nil {
				select {
				case tr.failures <- err:
				default:
				}
			}
			tr.connected.Add(1)
		}
	})
	w.t.Cleanup(tr.end)
	return tr
}

func (tr *traffic) end() {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.wg.Wait()
	for _, c := range tr.conns {
		c.Close()
	}
	tr.conns = nil
}

// requireUndisturbed checks that all open connections work and that no new one failed.
func (tr *traffic) requireUndisturbed() {
	tr.w.t.Helper()
	made := tr.connected.Load()
	require.Eventually(tr.w.t, func() bool { return tr.connected.Load() > made+5 }, 5*time.Second, time.Millisecond)
	buf := make([]byte, 16)
	for i, c := range tr.conns {
		_ = c.SetDeadline(time.Now().Add(2 * time.Second))
		_, err := c.Write([]byte("ping"))
		require.NoError(tr.w.t, err, "connection %d", i)
		n, err := c.Read(buf)
		require.NoError(tr.w.t, err, "connection %d", i)
		require.Equal(tr.w.t, "ping", string(buf[:n]))
	}
	select {
	case err := <-tr.failures:
		require.NoError(tr.w.t, err)
	default:
	}
}

// A packet that misses its slot, because two changes took effect while it passed the rules, finds
// a Service in the cluster-ips-check chains. The test removes the rules before those altogether.
func TestPacketDuringChangeIsNotRejected(t *testing.T) {
	for _, ip := range ipFamilies() {
		t.Run(ip.name, func(t *testing.T) {
			w := newTestbed(t)
			w.startServers(w.pods, ip.pod(0))
			vip, port := ip.vip(1, 80), net.JoinHostPort(ip.node, "30080")
			w.sync(newService("a", localsink.Port{Pools: []localsink.Pool{newLocalPool(ip.pod(0))}, Frontends: []localsink.Frontend{
				newFrontend(localsink.KindClusterIP, vip, localsink.Route{}),
				newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30080"), localsink.Route{Masquerade: true}),
			}}))
			for _, chain := range []string{chainPrerouting, chainOutput} {
				_, err := w.node.Command("nft", "flush", "chain", map[string]string{"IPv4": "ip", "IPv6": "ip6"}[ip.name], DefaultTable, chain)
				require.NoError(t, err)
			}
			for _, from := range []*netnstest.Namespace{w.client, w.node} {
				for _, to := range []string{vip, port} {
					_, err := w.request(from, "tcp", "", to)
					require.NoError(t, err, to)
				}
			}
		})
	}
}

// Established connections survive changes of their pool, rebuilds and restarts. New connections
// never fail meanwhile.
func TestTrafficSurvivesChangesAndRestarts(t *testing.T) {
	undisturbed := func(ip ipFamily, affinity time.Duration) {
		t.Run(fmt.Sprint(ip.name, " affinity ", affinity), func(t *testing.T) {
			w := newTestbed(t)
			for i := range podCount {
				w.startServers(w.pods, ip.pod(i))
			}
			vip := net.JoinHostPort(ip.node, "30080")
			build := func(first, size int) serviceList {
				addrs := []string{}
				for i := range size {
					addrs = append(addrs, ip.pod((first+i)%podCount))
				}
				pool := newLocalPool(addrs...)
				pool.Endpoints = sortEndpoints(pool.Endpoints)
				return append(serviceList{newService("a", localsink.Port{Pools: []localsink.Pool{pool}, Affinity: affinity,
					Frontends: []localsink.Frontend{newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30080"), localsink.Route{Masquerade: true})}})},
					manyServices(300, 5).serviceList...)
			}
			last := build(0, 4)
			w.sync(last...)
			tr := w.startTraffic(vip)
			for i := range 200 { // the pool grows and shrinks, also into other endpoint maps
				next := slices.Concat(build(i, []int{4, 4, 12, 3, 9, 8, 1, 2}[i%8])[:1], last[1:])
				require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), last, next)))
				last = next
			}
			tr.requireUndisturbed()
			for range 20 { // rebuilds
				w.backend.monitor.Report()
				require.NoError(t, w.backend.Sync(context.Background(), &localsink.Update{Node: testNode(), All: last}))
			}
			require.EqualValues(t, 21, w.backend.Stats().Tables[0].Rebuilds)
			tr.requireUndisturbed()
			for range 5 { // restarts
				require.NoError(t, w.backend.Close())
				tr.requireUndisturbed()
				w.backend = w.newBackend()
				w.sync(last...)
			}
			tr.requireUndisturbed()
			tr.end()
		})
	}
	for _, ip := range ipFamilies() {
		undisturbed(ip, 0)
		undisturbed(ip, time.Hour)
	}
}
