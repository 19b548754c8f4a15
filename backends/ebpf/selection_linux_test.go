// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// TestWeights: endpoints get connections in proportion to their weights.
func TestWeights(t *testing.T) {
	b := newBed(t, Config{})
	endpoints := []string{"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"}
	serve(t, b.node, localsink.ProtocolTCP, endpoints...)
	b.sync(web(localsink.ProtocolTCP, func(p *localsink.Port) {
		p.Pools[0].Endpoints[0].Weight, p.Pools[0].Endpoints[1].Weight = 7, 2
	}, endpoints...))
	used := map[string]int{}
	for range 1000 {
		used[ask(t, b.pod, "tcp", "10.96.0.1:80")]++
	}
	require.InDelta(t, 700, used[endpoints[0]], 75) // five times the standard deviation
	require.InDelta(t, 200, used[endpoints[1]], 65)
	require.InDelta(t, 100, used[endpoints[2]], 50)
}

// TestRefusedShare: a share of the connections is refused at once.
func TestRefusedShare(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080")
	b.sync(web(localsink.ProtocolTCP, func(p *localsink.Port) { p.RefusedPerMille = 300 }, "10.1.0.1:8080"))
	refused := 0
	for range 1000 {
		c, err := dial(b.pod, "tcp", "10.96.0.1:80")
		if err != nil {
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			refused++
			continue
		}
		require.NoError(t, c.Close())
	}
	require.InDelta(t, 300, refused, 75)
}

// TestAffinity: a namespace stays with its endpoint until the timeout has passed or the endpoint
// is removed, on all frontends of a port.
func TestAffinity(t *testing.T) {
	b := newBed(t, Config{})
	endpoints := []string{"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080", "10.1.0.4:8080"}
	serve(t, b.node, localsink.ProtocolTCP, endpoints...)
	timeout := time.Hour
	with := func(p *localsink.Port) {
		p.Affinity = timeout
		external := p.Frontends[0]
		external.Kind, external.Addr = localsink.KindExternalIP, netip.MustParseAddrPort("203.0.113.1:80")
		p.Frontends = append(p.Frontends, external)
	}
	b.sync(web(localsink.ProtocolTCP, with, endpoints...))
	first := ask(t, b.pod, "tcp", "10.96.0.1:80")
	for range 20 {
		require.Equal(t, first, ask(t, b.pod, "tcp", "10.96.0.1:80"))
		require.Equal(t, first, ask(t, b.pod, "tcp", "203.0.113.1:80"))
	}
	b.sync(web(localsink.ProtocolTCP, with, append([]string{"10.1.0.5:8080"}, endpoints...)...)) // another set with it
	require.Equal(t, first, ask(t, b.pod, "tcp", "10.96.0.1:80"))
	var others []string
	for _, e := range endpoints {
		if e != first {
			others = append(others, e)
		}
	}
	b.sync(web(localsink.ProtocolTCP, with, others...))
	require.NotEqual(t, first, ask(t, b.pod, "tcp", "10.96.0.1:80"))

	timeout = time.Nanosecond
	b.sync(web(localsink.ProtocolTCP, with, others...))
	used := map[string]int{}
	for range 100 {
		used[ask(t, b.pod, "tcp", "10.96.0.1:80")]++
	}
	require.Len(t, used, 3)
}

// TestConsistentSelection: clients bound to an address get the endpoint that package consistent
// computes, in both families, by client and by flow.
func TestConsistentSelection(t *testing.T) {
	b := newBed(t, Config{Combined: true})
	eachFamily(t, func(t *testing.T, vip string, _ []string) {
		var endpoints []string
		var list []consistent.Endpoint
		from := "10.2.0.2"
		for i := range 5 {
			e := fmt.Sprintf("10.1.0.%d:8080", 1+i)
			if vip[0] == '[' {
				e, from = fmt.Sprintf("[fd00:1::%d]:8080", 1+i), "fd00:2::2"
			}
			endpoints = append(endpoints, e)
			list = append(list, consistent.Endpoint{Addr: netip.MustParseAddrPort(e), Weight: 1})
		}
		serve(t, b.node, localsink.ProtocolTCP, endpoints...)
		table := consistent.NewTable(list)
		for _, selection := range []localsink.Selection{localsink.SelectionClient, localsink.SelectionFlow} {
			b.sync(web(localsink.ProtocolTCP, func(p *localsink.Port) { p.Selection = selection }, endpoints...))
			for port := range uint16(20) {
				client := netip.AddrPortFrom(netip.MustParseAddr(from), 20000+port+1000*uint16(selection))
				hash := consistent.HashClient(client.Addr())
				if selection == localsink.SelectionFlow {
					hash = consistent.HashFlow(client)
				}
				require.Equal(t, endpoints[table[table.Slot(hash)]], askFrom(t, b, client, vip), client)
			}
		}
	})
}

// askFrom connects from an address and port of the pod.
func askFrom(t *testing.T, b *bed, from netip.AddrPort, to string) string {
	t.Helper()
	c, err := dialFrom(t, b, from, to)
	require.NoError(t, err)
	defer c.Close()
	defer func() { _ = c.(*net.TCPConn).SetLinger(0) }()
	return exchange(t, c)
}

func dialFrom(t *testing.T, b *bed, from netip.AddrPort, to string) (c net.Conn, err error) {
	t.Helper()
	err = b.pod.Run(func() error {
		d := net.Dialer{Timeout: 300 * time.Millisecond, LocalAddr: net.TCPAddrFromAddrPort(from)}
		c, err = d.DialContext(t.Context(), "tcp", to)
		return err
	})
	return c, err
}

// TestSourceRanges: without a packet path, clients outside of the ranges, and those whose address
// is not known yet, cannot connect.
func TestSourceRanges(t *testing.T) {
	b := newBed(t, Config{})
	eachFamily(t, func(t *testing.T, vip string, endpoints []string) {
		pod, inside, outside := "10.2.0.2", "10.2.0.0/30", "10.2.0.4/30"
		if vip[0] == '[' {
			pod, inside, outside = "fd00:2::2", "fd00:2::/64", "fd00:3::/64"
		}
		serve(t, b.node, localsink.ProtocolTCP, endpoints...)
		with := func(ranges ...string) {
			b.sync(web(localsink.ProtocolTCP, func(p *localsink.Port) {
				p.Frontends[0].SourceRanges = []netip.Prefix{}
				for _, r := range ranges {
					p.Frontends[0].SourceRanges = append(p.Frontends[0].SourceRanges, netip.MustParsePrefix(r))
				}
			}, endpoints...))
		}
		from := netip.AddrPortFrom(netip.MustParseAddr(pod), 0)
		with(inside)
		require.Contains(t, endpoints, askFrom(t, b, from, vip))
		_, err := dial(b.pod, "tcp", vip)
		require.ErrorIs(t, err, syscall.EPERM)
		for _, ranges := range [][]string{{outside}, {}} {
			with(ranges...)
			_, err = dialFrom(t, b, from, vip)
			require.ErrorIs(t, err, syscall.EPERM)
		}
		with(outside, inside)
		require.Contains(t, endpoints, askFrom(t, b, from, vip))
	})
}

// TestNodePorts: node ports answer at the addresses of the node that accept them, and on
// loopback addresses to clients on the node.
func TestNodePorts(t *testing.T) {
	b := newBed(t, Config{})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080", "[fd00:1::1]:8080")
	b.driver.Node.LoopbackNodePorts = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	nodePort := func(p *localsink.Port) {
		fe := p.Frontends[0]
		fe.Kind, fe.Addr = localsink.KindNodePort, netip.MustParseAddrPort("0.0.0.0:30080")
		if p.Pools[0].Endpoints[0].Addr.Addr().Is6() {
			fe.Addr = netip.MustParseAddrPort("[::]:30080")
		}
		p.Frontends = append(p.Frontends, fe)
	}
	v6 := web(localsink.ProtocolTCP, nodePort, "[fd00:1::1]:8080")
	v6.Name.Name = "web6"
	b.sync(web(localsink.ProtocolTCP, nodePort, "10.1.0.1:8080"), v6)
	require.Equal(t, "10.1.0.1:8080", ask(t, b.pod, "tcp", "10.2.0.1:30080"))
	require.Equal(t, "10.1.0.1:8080", ask(t, b.node, "tcp", "10.2.0.1:30080"))
	require.Equal(t, "[fd00:1::1]:8080", ask(t, b.node, "tcp", "[fd00:2::1]:30080"))
	require.Equal(t, "10.1.0.1:8080", ask(t, b.node, "tcp", "127.0.0.1:30080"))
	for _, other := range []string{"10.1.0.1:30080", "127.0.0.1:30080"} { // not in NodePortAddresses; not of the pod
		_, err := dial(b.pod, "tcp", other)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
}

// TestRoutes: clients on the node and in pods may have different endpoints.
func TestRoutes(t *testing.T) {
	b := newBed(t, Config{Combined: true})
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080", "10.1.0.2:8080")
	b.sync(web(localsink.ProtocolTCP, func(p *localsink.Port) {
		p.Pools = append(p.Pools, localsink.Pool{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort("10.1.0.2:8080"), Weight: 1}}})
		p.Frontends[0].Routes = []localsink.Route{{From: localsink.FromLocalPods, Pool: 1}, {Pool: 0}}
	}, "10.1.0.1:8080"))
	for range 10 {
		require.Equal(t, "10.1.0.2:8080", ask(t, b.pod, "tcp", "10.96.0.1:80"))
		require.Equal(t, "10.1.0.1:8080", ask(t, b.node, "tcp", "10.96.0.1:80"))
	}
	// A pod's packets would need another source address: they are left to the packet path.
	b.sync(web(localsink.ProtocolTCP, func(p *localsink.Port) { p.Frontends[0].Routes[0].Masquerade = true }, "10.1.0.1:8080"))
	require.Equal(t, "10.1.0.1:8080", ask(t, b.node, "tcp", "10.96.0.1:80"))
	b.node.Sysctl("net/ipv4/ip_forward", "1")
	_, err := b.node.Command("ip", "route", "add", "unreachable", "10.96.0.0/16")
	require.NoError(t, err)
	_, err = dial(b.pod, "tcp", "10.96.0.1:80")
	require.ErrorIs(t, err, syscall.EHOSTUNREACH)
}
