// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/ebpf/internal/bytecode"
	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
)

// cookieOf returns the cookie of a namespace.
func cookieOf(ns *netnstest.Namespace) (cookie uint64) {
	ns.Do(func() (err error) {
		cookie, err = netnsCookie()
		return err
	})
	return cookie
}

// waitForRewrites waits until the newest rewrite is to an endpoint, and returns all.
func waitForRewrites(t *testing.T, b *bed, newest string) (all []Rewrite) {
	t.Helper()
	require.Eventually(t, func() bool {
		all = b.backend.RecentRewrites()
		return len(all) > 0 && all[len(all)-1].Endpoint.String() == newest
	}, 5*time.Second, 10*time.Millisecond)
	return all
}

// TestRecentRewrites: new connections and the first packets of unconnected sockets are recorded, in
// order, also after the maps were replaced by larger ones. Only the newest are kept.
func TestRecentRewrites(t *testing.T) {
	b := newBed(t, Config{RecentRewrites: 3})
	require.Empty(t, b.backend.RecentRewrites())
	tcp := web(localsink.ProtocolTCP, nil, "10.1.0.1:8080")
	udp := web(localsink.ProtocolUDP, nil, "[fd00:1::1]:8080")
	udp.Name.Name = "dns"
	nodePort := web(localsink.ProtocolTCP, func(p *localsink.Port) {
		p.Frontends = []localsink.Frontend{{Kind: localsink.KindNodePort, Addr: netip.MustParseAddrPort("0.0.0.0:30080"), Routes: []localsink.Route{{}}}}
	}, "10.1.0.2:8080")
	nodePort.Name.Name = "np"
	serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080", "10.1.0.2:8080")
	serve(t, b.node, localsink.ProtocolUDP, "[fd00:1::1]:8080")
	b.sync(tcp, udp, nodePort)
	before := time.Now()
	ask(t, b.node, "tcp", "10.96.0.1:80")
	ask(t, b.pod, "tcp", "10.96.0.1:80")
	b.sync(append(many(20000, 1), tcp, udp, nodePort)...) // in larger maps
	ask(t, b.node, "tcp", "10.2.0.1:30080")
	c := listenUDP(t, b.pod, "")
	to, err := net.ResolveUDPAddr("udp", "[fd00:96::1]:80")
	require.NoError(t, err)
	for range 3 { // the packets of a socket to one frontend are one flow
		exchangeFrom(t, c, to)
	}
	all := waitForRewrites(t, b, "[fd00:1::1]:8080")
	require.True(t, slices.IsSortedFunc(all, func(a, b Rewrite) int { return a.Time.Compare(b.Time) }))
	for i := range all {
		require.WithinRange(t, all[i].Time, before, time.Now())
		all[i].Time = time.Time{}
	}
	name := func(s string) localsink.ServiceName { return localsink.ServiceName{Namespace: "default", Name: s} }
	addr := netip.MustParseAddrPort
	require.Equal(t, []Rewrite{
		{Service: name("web"), Protocol: localsink.ProtocolTCP, Frontend: addr("10.96.0.1:80"), Endpoint: addr("10.1.0.1:8080"), Namespace: cookieOf(b.pod)},
		{Service: name("np"), Protocol: localsink.ProtocolTCP, Frontend: addr("10.2.0.1:30080"), Endpoint: addr("10.1.0.2:8080"), Namespace: cookieOf(b.node)},
		{Service: name("dns"), Protocol: localsink.ProtocolUDP, Frontend: addr("[fd00:96::1]:80"), Endpoint: addr("[fd00:1::1]:8080"), Namespace: cookieOf(b.pod)},
	}, all)
	b.sync()
	require.Empty(t, b.backend.RecentRewrites()[0].Service, "the Service is removed")
}

// TestRewritesAreNotRecordedByDefault: the verifier removes the code that is unreachable.
func TestRewritesAreNotRecordedByDefault(t *testing.T) {
	size := func(cfg Config) int {
		b := newBed(t, cfg)
		b.sync(web(localsink.ProtocolTCP, nil, "10.1.0.1:8080"))
		info, err := b.backend.state.maps.(*linuxMaps).collection.Programs["connect4"].Info()
		require.NoError(t, err)
		n, err := info.TranslatedSize()
		require.NoError(t, err)
		if cfg.RecentRewrites == 0 {
			serve(t, b.node, localsink.ProtocolTCP, "10.1.0.1:8080")
			ask(t, b.pod, "tcp", "10.96.0.1:80")
			require.Nil(t, b.backend.RecentRewrites())
		}
		return n
	}
	require.Less(t, size(Config{}), size(Config{RecentRewrites: 1}))
}

// TestMapUsage counts what a Service, a connection and sockets need.
func TestMapUsage(t *testing.T) {
	b := newBed(t, Config{CountConnections: true})
	usage := func() map[string]MapUsage {
		all, err := b.backend.MapUsage()
		require.NoError(t, err)
		byName := map[string]MapUsage{}
		for _, u := range all {
			require.LessOrEqual(t, u.Used, u.Size, u.Name)
			require.Positive(t, u.Size, u.Name)
			byName[u.Name] = u
		}
		require.Len(t, byName, len(all))
		return byName
	}
	require.Len(t, usage(), 4, "nothing is loaded yet")
	serve(t, b.node, localsink.ProtocolUDP, "10.1.0.1:8080", "10.1.0.2:8080")
	b.sync(web(localsink.ProtocolUDP, func(p *localsink.Port) {
		p.Affinity = time.Hour
		p.Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}, "10.1.0.1:8080", "10.1.0.2:8080"))
	before := usage()
	used := map[string]uint64{}
	for name, u := range before {
		used[name] = u.Used
	}
	require.Equal(t, map[string]uint64{
		"frontends": 1, "records": 1, "slots": 2, "tables": 0, "ranges": 2, "local_addrs": 2, "counters": 3,
		"namespaces": 0, "affinity": 0, "flows": 0, "reverse": 0,
	}, used)
	c := listenUDP(t, b.pod, "10.2.0.2:0")
	exchangeFrom(t, c, &net.UDPAddr{IP: net.IPv4(10, 96, 0, 1), Port: 80})
	require.NoError(t, b.backend.ExcludeNamespace(b.path(b.node)))
	after := usage()
	for _, name := range []string{bytecode.ServicesMapAffinity, bytecode.ServicesMapFlows, bytecode.ServicesMapReverse, bytecode.ServicesMapNamespaces} {
		require.Equal(t, uint64(1), after[name].Used, name)
		require.True(t, after[name].Fixed, name)
	}
	require.NoError(t, b.backend.Close())
	closed, err := b.backend.MapUsage()
	require.NoError(t, err)
	require.Empty(t, closed)
	b.start() // for the end of the test
}

func TestRecentRewritesIsValidated(t *testing.T) {
	for _, n := range []int{-1, maxRecentRewrites + 1} {
		_, err := New(Config{RecentRewrites: n})
		require.ErrorContains(t, err, "ebpf: RecentRewrites: ")
		require.ErrorContains(t, err, "is out of range 0-65536")
	}
}
