// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func families() []*family { return []*family{ipv4(), ipv6()} }

// After each random change, the kernel implements the Services and holds nothing else.
func TestStateIsIndependentOfHistory(t *testing.T) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			g, k := newGenerator(t), newModelKernel(t)
			k.f = f
			st := newTableState(f, newNodeMatches(f, nil), Config{MasqueradeMark: 1}, k)
			all := map[localsink.ServiceName]*localsink.Service{}
			get := func(n localsink.ServiceName) *localsink.Service { return all[n] }
			expected := clientEndpoints{}
			for range 250 {
				st.apply(changesOf(all, g.step(all)), get)
				st.sizeSets()
				k.commit(st)
				require.Empty(t, st.problems)
				k.verify(st, values(all))
				expected.verify(k, st)
				g.connectClients(k, st, expected)
				if len(st.unused) > maxUnusedChains {
					st.deleteUnusedChains()
					k.commit(st)
				}
			}
			names := sortedNames(all)
			clear(all)
			st.apply(changesOf(all, names), get)
			st.deleteUnusedChains()
			k.commit(st)
			require.Zero(t, st.elementCount)
			require.Zero(t, st.records.Len())
			require.Empty(t, st.owners)
			require.Empty(t, st.firewallChains)
			require.Empty(t, st.affinityPorts)
			require.Empty(t, st.selections)
			require.Empty(t, st.change.unusedTables)
			require.Empty(t, st.change.unreferenced)
			require.Empty(t, st.change.entryCopies)
			require.Empty(t, st.clusterIPRefs)
			require.Empty(t, st.hairpinRefs)
			require.Equal(t, len(k.chains), st.chainCount)
		})
	}
}

func TestRepeatedChangeWritesNothing(t *testing.T) {
	for _, f := range families() {
		t.Run(f.name, func(t *testing.T) {
			g, k := newGenerator(t), newModelKernel(t)
			st := newTableState(f, newNodeMatches(f, nil), Config{MasqueradeMark: 1}, k)
			all := map[localsink.ServiceName]*localsink.Service{}
			get := func(n localsink.ServiceName) *localsink.Service { return all[n] }
			for range 50 {
				names := g.step(all)
				st.apply(changesOf(all, names), get)
				k.commit(st)
				before := k.ops
				st.apply(changesOf(all, names), get)
				st.apply(changesOf(all, append(names, names...)), get)
				k.commit(st)
				require.Equal(t, before, k.ops)
				k.verify(st, values(all))
			}
		})
	}
}

func TestChangeWritesOnlyDifferences(t *testing.T) {
	pool := func(ids ...int) localsink.Pool {
		var p localsink.Pool
		for _, i := range ids {
			p.Endpoints = append(p.Endpoints, localsink.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80), Weight: 1})
		}
		return p
	}
	for _, c := range []struct {
		name     string
		old, new localsink.Pool
		ops      int
	}{
		{"one replaced", pool(1, 2, 3, 4), pool(1, 3, 4, 9), 2},
		{"one replaced at the end", pool(1, 2, 3, 4), pool(0, 1, 2, 3), 2},
		{"one added", pool(1, 2, 3), pool(0, 1, 2, 3), 1 + 2},
		{"first removed", pool(1, 2, 3), pool(2, 3), 3 + 2},
		{"last removed", pool(1, 2, 3), pool(1, 2), 1 + 2},
		{"all removed", pool(1, 2, 3), pool(), 3 + 2},
		{"other endpoint map", pool(1, 2, 3, 4, 5, 6, 7, 8), pool(1, 2, 3, 4, 5, 6, 7, 8, 9), 8 + 9 + 2},
		{"same", pool(1, 2, 3), pool(1, 2, 3), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newModelKernel(t)
			st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
			apply := func(p localsink.Pool) {
				s := newService("a", localsink.Port{Pools: []localsink.Pool{p}, Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, "10.96.0.1:80")}})
				st.apply([]serviceChange{{name: s.Name, desired: s}}, nil)
				k.commit(st)
				k.verify(st, slices.Values([]*localsink.Service{s}))
			}
			apply(c.old)
			before := k.ops
			apply(c.new)
			require.Equal(t, c.ops, k.ops-before)
		})
	}
}

func TestAssignSlotsKeepsEndpointsInPlace(t *testing.T) {
	g := newGenerator(t)
	for range 3000 {
		v6 := g.IntN(2) == 0
		held, pool := g.equalEndpoints(v6), g.equalEndpoints(v6)
		if g.IntN(2) == 0 {
			pool = sortEndpoints(append(slices.Clone(held), g.endpoint(v6)))
		}
		g.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		list := assignSlots(newSlotList(held), pool)
		slots := make([]localsink.Endpoint, 0, len(pool))
		for i, e := range list.all() {
			require.Equal(t, newSlotList([]localsink.Endpoint{e})[1:], list.slot(i))
			slots = append(slots, e)
		}
		require.Equal(t, len(pool), list.len())
		require.Equal(t, newSlotList(pool), newSlotList(sortEndpoints(slices.Clone(slots))))
		for i := range min(len(held), len(pool)) {
			if slices.Contains(pool, held[i]) && len(held) > 0 {
				require.Equal(t, held[i].Addr, slots[i].Addr)
				require.Equal(t, held[i].Local, slots[i].Local)
			}
		}
	}
}

// The second Service gets the frontend when the first gives it up.
func TestFirstServiceKeepsConflictingFrontend(t *testing.T) {
	k := newModelKernel(t)
	st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	newNamed := func(name, endpoint string) *localsink.Service {
		return newService(name, localsink.Port{Pools: []localsink.Pool{newLocalPool(endpoint)},
			Frontends: []localsink.Frontend{newFrontend(localsink.KindExternalIP, "198.51.100.1:80")}})
	}
	a, b := newNamed("a", "10.0.0.1:80"), newNamed("b", "10.0.0.2:80")
	st.load(a)
	st.load(b)
	k.commit(st)
	k.verify(st, slices.Values([]*localsink.Service{a}))
	require.Len(t, st.problems[b.Name], 1)
	require.Contains(t, st.problems[b.Name][0].String(), "198.51.100.1:80/TCP belongs to Service test/a")
	require.Equal(t, 1, st.records.Len(), "only one is programmed")

	// The second Service may change meanwhile.
	moved := newNamed("b", "10.0.0.3:80")
	st.apply([]serviceChange{{name: b.Name, desired: moved}}, serviceList{a, moved}.Get)
	k.commit(st)
	k.verify(st, slices.Values([]*localsink.Service{a}))
	require.Len(t, st.problems[b.Name], 1, "reported once")
	st.apply([]serviceChange{{name: b.Name, desired: b}}, serviceList{a, b}.Get)
	k.commit(st)
	require.Len(t, st.problems[b.Name], 1)

	st.apply([]serviceChange{{name: a.Name}}, serviceList{b}.Get)
	k.commit(st)
	k.verify(st, slices.Values([]*localsink.Service{b}))
	require.Empty(t, st.problems)
	require.Empty(t, st.conflicts)
	require.Equal(t, 1, st.records.Len())

	// A frontend can pass from one Service to another in one change, in any order.
	for _, names := range [][]string{{"a", "b"}, {"b", "a"}} {
		var changes []serviceChange
		all := map[string]*localsink.Service{names[0]: newNamed(names[0], "10.0.0.1:80"), names[1]: nil}
		for _, n := range []string{"a", "b"} {
			changes = append(changes, serviceChange{name: localsink.ServiceName{Namespace: "test", Name: n}, desired: all[n]})
		}
		st.apply(changes, nil)
		k.commit(st)
		k.verify(st, slices.Values([]*localsink.Service{all[names[0]]}))
		require.Empty(t, st.problems)
	}
}

func TestInvalidFrontendsAreReportedAndSkipped(t *testing.T) {
	good := newFrontend(localsink.KindClusterIP, "10.96.0.1:80")
	for _, c := range []struct {
		name       string
		port       localsink.Port
		problem    string
		programmed int
	}{
		{"pool out of range", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindClusterIP, "10.96.0.2:80", localsink.Route{Pool: 7})}},
			"ports[0].frontends[1]: ClusterIP 10.96.0.2:80/TCP: routes[0].pool: 7 is out of range [0,1); ignored", 1},
		{"pool just out of range", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindClusterIP, "10.96.0.2:80", localsink.Route{Pool: 1})}},
			"routes[0].pool: 1 is out of range [0,1)", 1},
		{"no routes", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindClusterIP, "10.96.0.2:80", []localsink.Route{}...)}}, "10.96.0.2:80/TCP: routes must not be empty", 1},
		{"port zero", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindClusterIP, "10.96.0.2:0")}}, "10.96.0.2:0/TCP: port 0 is out of range 1-65535", 1},
		{"unknown protocol", localsink.Port{Protocol: 99, Frontends: []localsink.Frontend{good}}, "10.96.0.1:80/unknown: protocol number 99 is not TCP, UDP or SCTP", 0},
		{"node port with an address", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindNodePort, "10.96.0.2:80")}}, "the address of a node port must be unspecified", 1},
		{"no address", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindExternalIP, "0.0.0.0:80")}}, "the address must not be unspecified", 1},
		{"key twice", localsink.Port{Frontends: []localsink.Frontend{good, good}}, "10.96.0.1:80/TCP belongs to Service test/a", 1},
		{"endpoints of the other family", localsink.Port{Pools: []localsink.Pool{newLocalPool("10.0.0.1:80", "[fd00::1]:80")}, Frontends: []localsink.Frontend{good}},
			"pools[0]: 1 endpoints are duplicates or not ip addresses", 1},
		{"only endpoints of the other family", localsink.Port{Pools: []localsink.Pool{newLocalPool("[fd00::1]:80")}, Frontends: []localsink.Frontend{good}},
			"pools[0]: 1 endpoints are duplicates or not ip addresses", 1},
		{"frontends of both families", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindClusterIP, "[fd00:96::1]:80")}}, "", 1},
		{"pool out of order", localsink.Port{Pools: []localsink.Pool{newLocalPool("10.0.0.2:80", "10.0.0.1:80")}, Frontends: []localsink.Frontend{good}}, "", 1},
		{"endpoint twice", localsink.Port{Pools: []localsink.Pool{newLocalPool("10.0.0.1:80", "10.0.0.1:80")}, Frontends: []localsink.Frontend{good}}, "pools[0]: 1 endpoints are duplicates", 1},
		{"mapped address", localsink.Port{Frontends: []localsink.Frontend{good, newFrontend(localsink.KindClusterIP, "[::ffff:10.96.0.2]:80")}}, "", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newModelKernel(t)
			st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
			if c.port.Pools == nil {
				c.port.Pools = []localsink.Pool{newLocalPool("10.0.0.1:80")}
			}
			st.load(newService("a", c.port))
			k.commit(st)
			k.connections(st)
			require.Len(t, k.sets[mapServiceIPs], c.programmed)
			if c.problem == "" {
				require.Empty(t, st.problems)
				return
			}
			require.Len(t, st.problems, 1)
			for _, list := range st.problems {
				require.Len(t, list, 1)
				require.Contains(t, list[0].String(), c.problem)
			}
		})
	}
}

func TestFullSetRequiresRebuild(t *testing.T) {
	k := newModelKernel(t)
	st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	require.True(t, st.sizeSets())
	require.Equal(t, minSetSize, st.serviceIPs.size)
	fits := true
	for i := range minSetSize + 1 {
		require.True(t, fits)
		s := newService(netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}).String(), localsink.Port{Pools: []localsink.Pool{{}}})
		s.Ports[0].Frontends = []localsink.Frontend{newFrontend(localsink.KindExternalIP, s.Name.Name+":80")}
		st.load(s)
		fits = st.sizeSets()
	}
	require.False(t, fits)
	// A set may exceed its size between the operations of one transaction.
	st.count(st.serviceIPs, -1)
	st.count(st.serviceIPs, 1)
	st.count(st.serviceIPs, -1)
	require.True(t, st.sizeSets())
	k = newModelKernel(t)
	st = newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	st.serviceIPs.count = 100000
	require.True(t, st.sizeSets())
	require.Equal(t, 262144, st.serviceIPs.size)
}
