// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A packet that passes reaches what the node does with its destination: here, a server of the
// node that listens on the address, although it is in a network of Services.
func TestPassLeavesPacketsAlone(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		pass := localsink.Route{EmptyVerdict: localsink.VerdictPass}
		external := netip.MustParseAddrPort(ip.vip(10, 80))
		bits := map[bool]string{true: "/32", false: "/128"}[external.Addr().Is4()]
		w.node.Address("outside", external.Addr().String()+bits)
		w.startServers(w.node, external.String())
		defer func() { _, _ = w.node.Command("ip", "addr", "del", external.Addr().String()+bits, "dev", "outside") }()
		n := testNode()
		n.ServiceNetworks = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:96::/108")}
		restricted := newFrontend(localsink.KindLoadBalancer, ip.vip(11, 80), pass)
		restricted.SourceRanges = []netip.Prefix{}
		service := func(pool localsink.Pool) *localsink.Service {
			return newTCPAndUDPService("a", []localsink.Pool{pool}, newFrontend(localsink.KindExternalIP, external.String(), pass),
				newFrontend(localsink.KindClusterIP, ip.vip(12, 80), pass), newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "80"), pass), restricted)
		}
		first, second := service(localsink.Pool{}), service(newLocalPool(ip.pod(0)))
		require.NoError(t, w.backend.Sync(context.Background(), firstUpdate(n, first)))
		w.clearUDPFlows()
		w.requireResponse(w.client, network, "", external.String(), response{ip.client, external.String()})
		w.requireResponse(w.otherPod, network, "", external.String(), response{ip.otherPod, external.String()})
		// The node routes packets to the cluster IP to its default gateway, the client: they
		// are neither rejected nor dropped by the backend.
		w.startServers(w.client, net.JoinHostPort(ip.client.String(), "80"))
		w.requireSilent(w.otherPod, network, ip.vip(11, 80)) // not in the source ranges
		w.client.Address("lo", netip.MustParseAddrPort(ip.vip(12, 80)).Addr().String()+bits)
		w.startServers(w.client, ip.vip(12, 80))
		w.requireResponse(w.otherPod, network, "", ip.vip(12, 80), response{ip.otherPod, ip.vip(12, 80)})
		w.requireRefused(w.client, network, "", net.JoinHostPort(ip.node, "80")) // by the node, where nothing listens
		require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(n, serviceList{first}, serviceList{second})))
		w.clearUDPFlows()
		w.requireResponse(w.client, network, "", external.String(), response{ip.client, ip.pod(0)})
		w.requireResponse(w.otherPod, network, "", ip.vip(12, 80), response{ip.otherPod, ip.pod(0)})
		_, _ = w.client.Command("ip", "addr", "del", netip.MustParseAddrPort(ip.vip(12, 80)).Addr().String()+bits, "dev", "lo")
	})
}

// requireRefusedShare makes n connections and checks the share of refused ones, to five times the
// standard deviation. The kernel limits the rate of ICMP messages, by which UDP packets are
// rejected, so a UDP packet without a response counts as refused.
func (w *testbed) requireRefusedShare(network, addr string, n int, share float64) {
	w.t.Helper()
	short := *w
	short.expectSilence = network == "udp"
	w.clearUDPFlows() // an earlier flow may have the same source port
	refused := 0
	for range n {
		_, err := short.request(w.client, network, "", addr)
		if errors.Is(err, syscall.ECONNREFUSED) || network == "udp" && errors.Is(err, os.ErrDeadlineExceeded) {
			refused++
			continue
		}
		require.NoError(w.t, err)
	}
	expected := share * float64(n)
	require.LessOrEqual(w.t, (float64(refused)-expected)*(float64(refused)-expected), 25*expected*(1-share), "%d of %d refused", refused, n)
}

func TestShareOfConnectionsIsRefused(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		service := func(refused uint16) *localsink.Service {
			s := newTCPAndUDPService("a", []localsink.Pool{newLocalPool(ip.pod(0), ip.pod(1))},
				newFrontend(localsink.KindClusterIP, ip.vip(1, 80)),
				newFrontend(localsink.KindNodePort, net.JoinHostPort(ip.unspecified, "30080"), localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Masquerade: true}))
			s.Ports[0].RefusedPerMille, s.Ports[1].RefusedPerMille = refused, refused
			return s
		}
		n := map[string]int{"tcp": 300, "udp": 60}[network]
		var last serviceList
		for _, refused := range []uint16{0, 800, 250, 1000} {
			next := serviceList{service(refused)}
			require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), last, next)))
			last = next
			w.requireRefusedShare(network, ip.vip(1, 80), n, float64(refused)/1000)
			w.requireRefusedShare(network, net.JoinHostPort(ip.node, "30080"), n, float64(refused)/1000)
		}
		w.sync()
	})
}

// Clients with an affinity entry are not refused, others are.
func TestAffinityIsNotRefused(t *testing.T) {
	forEachFamilyWithClients(t, func(w *testbed, ip ipFamily, network string, clients []string) {
		service := func(refused uint16) *localsink.Service {
			s := affinityService(ip, time.Hour, 0, 1)
			s.Ports[0].RefusedPerMille, s.Ports[1].RefusedPerMille = refused, refused
			return s
		}
		first := service(0)
		w.sync(first)
		held := w.endpointFor(w.client, network, clients[0], ip.vip(1, 80))
		last := serviceList{first}
		for _, refused := range []uint16{900, 1000, 500} {
			next := serviceList{service(refused)}
			require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), last, next)))
			last = next
			for range 20 {
				require.Equal(t, held, w.endpointFor(w.client, network, clients[0], ip.vip(1, 80)))
			}
			if refused == 1000 {
				for _, c := range clients[1:] {
					w.requireRefused(w.client, network, c, ip.vip(2, 80))
				}
			}
		}
		// At 50 %, each client is accepted at some time, and from then on always.
		for _, c := range clients[1:] {
			require.Eventually(t, func() bool {
				_, err := w.request(w.client, network, c, ip.vip(1, 80))
				return err == nil
			}, 10*time.Second, time.Microsecond)
			for range 5 {
				w.endpointFor(w.client, network, c, ip.vip(1, 80))
			}
		}
	})
}

// A client whose entry is for another pool has an entry too: it gets another endpoint, and is not
// refused.
func TestAffinityToAnotherPoolIsNotRefused(t *testing.T) {
	w := newTestbed(t)
	clients := w.addClients()
	for _, ip := range ipFamilies() {
		for i := range 2 {
			w.startServers(w.pods, ip.pod(i))
		}
		service := func(refused uint16) *localsink.Service {
			return newService("a", localsink.Port{
				Affinity: time.Hour, RefusedPerMille: refused, Pools: []localsink.Pool{newLocalPool(ip.pod(0)), newLocalPool(ip.pod(1))},
				Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, ip.vip(1, 80)), newFrontend(localsink.KindExternalIP, ip.vip(2, 80), localsink.Route{Pool: 1})},
			})
		}
		first, second := service(0), service(1000)
		w.sync(first)
		for _, c := range clients(ip) {
			w.endpointFor(w.client, "tcp", c, ip.vip(1, 80))
		}
		require.NoError(t, w.backend.Sync(context.Background(), nextUpdate(testNode(), serviceList{first}, serviceList{second})))
		for _, c := range clients(ip) {
			require.Equal(t, ip.pod(1), w.endpointFor(w.client, "tcp", c, ip.vip(2, 80)))
			require.Equal(t, ip.pod(0), w.endpointFor(w.client, "tcp", c, ip.vip(1, 80)))
		}
		w.requireRefused(w.otherPod, "tcp", "", ip.vip(1, 80)) // a client without an entry
		w.sync()
	}
}

// Clients in excepted networks keep their address, apart from hairpin connections.
func TestExceptionsFromMasquerading(t *testing.T) {
	forEachFamily(t, func(w *testbed, ip ipFamily, network string) {
		endpoint := ip.pod(0)
		s := newTCPAndUDPService("a", []localsink.Pool{newLocalPool(endpoint)}, newFrontend(localsink.KindExternalIP, ip.vip(1, 80), localsink.Route{Masquerade: true}))
		n := testNode()
		require.NoError(t, w.backend.Sync(context.Background(), firstUpdate(n, s)))
		w.requireResponse(w.client, network, "", ip.vip(1, 80), response{ip.gateway, endpoint})
		rebuilds := w.backend.Stats().Tables[0].Rebuilds
		change := func(networks ...netip.Prefix) {
			other := *n
			other.NoMasquerade = networks
			n = &other
			u := nextUpdate(n, serviceList{s}, serviceList{s})
			u.NodeChanged = true
			require.NoError(t, w.backend.Sync(context.Background(), u))
			w.clearUDPFlows()
		}
		change(netip.PrefixFrom(ip.client, ip.client.BitLen()))
		w.requireResponse(w.client, network, "", ip.vip(1, 80), response{ip.client, endpoint})
		w.requireResponse(w.otherPod, network, "", ip.vip(1, 80), response{ip.gateway, endpoint})
		change(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"))
		w.requireResponse(w.otherPod, network, "", ip.vip(1, 80), response{ip.otherPod, endpoint})
		w.requireResponse(w.pods, network, netip.MustParseAddrPort(endpoint).Addr().String(), ip.vip(1, 80), response{ip.gateway, endpoint})
		change()
		w.requireResponse(w.client, network, "", ip.vip(1, 80), response{ip.gateway, endpoint})
		require.Equal(t, rebuilds, w.backend.Stats().Tables[0].Rebuilds, "one rule is changed")
	})
}
