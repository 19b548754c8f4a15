// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func TestDispatchChainNames(t *testing.T) {
	full := func(n int) localsink.Pool { return localsink.Pool{Endpoints: make([]localsink.Endpoint, n)} }
	pools := []localsink.Pool{full(10), full(3), {}, full(10)}
	type route = localsink.Route
	for _, c := range []struct {
		name   string
		routes []route
		used   [maxPools]int
	}{
		{"loadbalance-service-pool1-10", []route{{}}, [3]int{0, -1, -1}},
		{"dispatch-service.any-masq-pool1-3", []route{{Pool: 1, Masquerade: true}}, [3]int{1, -1, -1}},
		{"reject-chain", []route{{Pool: 2}}, [3]int{-1, -1, -1}},
		{"reject-chain", []route{{Pool: 2, Masquerade: true}}, [3]int{-1, -1, -1}},
		{"drop-chain", []route{{Pool: 2, EmptyVerdict: localsink.VerdictDrop}}, [3]int{-1, -1, -1}},
		{"pass-chain", []route{{Pool: 2, EmptyVerdict: localsink.VerdictPass}}, [3]int{-1, -1, -1}},
		{"dispatch-service.pods-pool1-10.any-pass", []route{{From: localsink.FromLocalPods}, {Pool: 2, EmptyVerdict: localsink.VerdictPass}}, [3]int{0, -1, -1}},
		{"dispatch-service.pods-pool1-10.node-masq-pool1-10.any-pool2-3",
			[]route{{From: localsink.FromLocalPods}, {From: localsink.FromThisNode, Masquerade: true}, {Pool: 1}}, [3]int{0, 1, -1}},
		{"dispatch-service.pods-pool1-3.node-pool2-10.any-pool3-10",
			[]route{{From: localsink.FromLocalPods, Pool: 1}, {From: localsink.FromThisNode, Pool: 3}, {}}, [3]int{1, 3, 0}},
		{"dispatch-service.pods-drop.any-pool1-10", []route{{From: localsink.FromLocalPods, Pool: 2, EmptyVerdict: localsink.VerdictDrop}, {}}, [3]int{0, -1, -1}},
		{"dispatch-service.pods-pool1-10", []route{{From: localsink.FromLocalPods}}, [3]int{0, -1, -1}}, // all others pass
		{"dispatch-service.node-reject.any-pool1-10", []route{{From: localsink.FromThisNode, Pool: 2}, {}}, [3]int{0, -1, -1}},
		{"loadbalance-service-pool1-10", []route{{}, {From: localsink.FromLocalPods, Pool: 1}}, [3]int{0, -1, -1}}, // never reached
		{"dispatch-service.pods-pool1-10.any-pool2-3",
			[]route{{From: localsink.FromLocalPods}, {From: localsink.FromLocalPods, Pool: 3}, {Pool: 1}}, [3]int{0, 1, -1}},
	} {
		p, used := newDispatch(matchAddress, c.routes, pools)
		require.Equal(t, c.name, p.name())
		require.Equal(t, c.used, used, c.name)
	}
	p, _ := newDispatch(matchNodePort, []route{{From: localsink.FromLocalPods}, {}}, pools)
	require.Equal(t, "dispatch-nodeport.pods-pool1-10.any-pool1-10", p.name())

	refusing, _ := newDispatch(matchAddress, []route{{}}, pools)
	refusing.refused = 800
	require.Equal(t, "dispatch-service.refuse800.any-pool1-10", refusing.name())
	empty, _ := newDispatch(matchAddress, []route{{Pool: 2}}, pools)
	empty.refused = 800
	require.Equal(t, "reject-chain", empty.name(), "the verdict of an empty pool applies")
}

func TestFrontendsShareDispatchChains(t *testing.T) {
	k := newModelKernel(t)
	st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	before := st.chainCount
	for i, s := range manyServices(500, 7).serviceList {
		fe := s.Ports[0].Frontends[0]
		fe.Routes = []localsink.Route{{From: localsink.FromLocalPods}, {Masquerade: true}}
		if i%2 == 0 {
			fe.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
		} else {
			fe.SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
		}
		st.load(newService(s.Name.Name, localsink.Port{Pools: s.Ports[0].Pools, Frontends: []localsink.Frontend{fe}}))
	}
	require.Equal(t, before+2, st.chainCount)
	k.commit(st)
	st.apply([]serviceChange{{name: localsink.ServiceName{Namespace: "test", Name: "svc-000001"}}}, nil)
	require.Empty(t, st.unused, "other frontends use the chains")
	k.commit(st)

	// A deleted chain is created again for the next frontend that needs it.
	var gone []serviceChange
	for r := range st.records.All() {
		gone = append(gone, serviceChange{name: r.name})
	}
	st.apply(gone, nil)
	k.commit(st)
	st.deleteUnusedChains()
	k.commit(st)
	require.Equal(t, before, st.chainCount)
	require.Zero(t, st.records.Len())
	require.Empty(t, st.hairpinRefs)
	fe := newFrontend(localsink.KindExternalIP, "198.51.100.1:80", localsink.Route{From: localsink.FromLocalPods}, localsink.Route{Masquerade: true})
	fe.SourceRanges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
	var p localsink.Pool
	p.Endpoints = manyEndpoints(0, 7)
	st.load(newService("new", localsink.Port{Pools: []localsink.Pool{p}, Frontends: []localsink.Frontend{fe}}))
	k.commit(st)
	require.Equal(t, before+2, st.chainCount)
}

func TestEndpointMapLimits(t *testing.T) {
	for n, limit := range map[int]int{1: 8, 8: 8, 9: 16, 16: 16, 17: 32, 32: 32, 33: 64, 100: 128, 1000: 1024, 1025: 2048} {
		require.Equal(t, limit, endpointMapLimit(n), n)
	}
}

func TestConfigDefaultsAndValidation(t *testing.T) {
	c, err := Config{}.withDefaults()
	require.NoError(t, err)
	require.Equal(t, "kpng", c.Table)
	require.EqualValues(t, 0x4000, c.MasqueradeMark)
	require.NotNil(t, c.Logger)
	for _, bad := range []Config{{Table: "1st"}, {Table: "a b"}, {Table: "a;b"}, {Table: strings.Repeat("a", 101)}, {MasqueradeMark: 3}} {
		_, err := bad.withDefaults()
		require.ErrorContains(t, err, "nftables: Config.")
		_, err = New(bad)
		require.ErrorContains(t, err, "nftables: Config.")
	}
}

func TestNodeMatchesOfOneFamily(t *testing.T) {
	n := &localsink.Node{
		LocalPods: localsink.PodSources{
			Networks:        []netip.Prefix{netip.MustParsePrefix("10.1.0.7/16"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("10.1.0.0/16")},
			Interface:       "0123456789abcdef",
			InterfacePrefix: "0123456789abcde",
		},
	}
	v4, v6 := newNodeMatches(ipv4(), n), newNodeMatches(ipv6(), n)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, v4.podNetworks)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("fd00::/8")}, v6.podNetworks)
	require.Empty(t, v4.podInterface, "too long for an interface")
	require.Equal(t, "0123456789abcde", v4.podInterfacePrefix)
	n.LocalPods.Interface = "0123456789abcde"
	require.Equal(t, "0123456789abcde", newNodeMatches(ipv4(), n).podInterface, "the longest possible name")
	n.LocalPods.Interface = "0123456789abcdef"
	require.True(t, v4.equal(newNodeMatches(ipv4(), n)))
	require.False(t, v4.equal(v6))
	require.False(t, v4.equal(newNodeMatches(ipv4(), nil)))
	require.False(t, (*nodeMatches)(nil).equal(v4), "nil equals nothing")
	for field, change := range map[string]func(n *localsink.Node){
		"pod networks":     func(n *localsink.Node) { n.LocalPods.Networks = nil },
		"pod interface":    func(n *localsink.Node) { n.LocalPods.Interface = "br0" },
		"pod prefix":       func(n *localsink.Node) { n.LocalPods.InterfacePrefix = "veth" },
		"node ports":       func(n *localsink.Node) { n.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")} },
		"service networks": func(n *localsink.Node) { n.ServiceNetworks = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")} },
	} {
		other := *n
		change(&other)
		require.False(t, v4.equal(newNodeMatches(ipv4(), &other)), field)
	}
}

func TestFamilyAcceptsOnlyItsPlainAddresses(t *testing.T) {
	for addr, want := range map[string][2]bool{
		"10.0.0.1": {true, false}, "fd00::1": {false, true}, "::": {false, true}, "0.0.0.0": {true, false},
		"::ffff:10.0.0.1": {false, false}, "fe80::1%eth0": {false, false},
	} {
		a := netip.MustParseAddr(addr)
		require.Equal(t, want, [2]bool{ipv4().has(a), ipv6().has(a)}, addr)
	}
	require.False(t, ipv4().has(netip.Addr{}))
	require.False(t, ipv6().has(netip.Addr{}))
}
