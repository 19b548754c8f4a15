// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// poolEndpoints returns the endpoints that the rules of a pool with affinity select, sorted.
func (k *modelKernel) poolEndpoints(s *affinityPort, pool int) []netip.AddrPort {
	k.t.Helper()
	require.NotNil(k.t, s)
	p := s.pools[pool]
	require.NotNil(k.t, p)
	require.True(k.t, k.chains[p.chain], p.chain)
	for _, part := range []*set{p.endpoints, s.entries, p.index} {
		require.True(k.t, part == nil || k.rules[p.chain].Contains([]byte(part.name+"\x00")))
	}
	require.Equal(k.t, s.refused > 0, k.rules[p.chain].Contains([]byte(chainReject+"\x00")))
	var all []netip.AddrPort
	used := map[uint32]bool{}
	for i := range p.choices {
		slot := uint32(i)
		if p.index != nil {
			index, ok := k.sets[p.index.name][modelKey{slot: slot}]
			require.True(k.t, ok, "index %d of %s", i, p.chain)
			slot = index.target
			require.Len(k.t, k.sets[p.index.name], len(p.choices))
		}
		e, ok := k.sets[p.endpoints.name][modelKey{slot: slot}]
		require.True(k.t, ok, "slot %d of %s", slot, p.chain)
		require.Equal(k.t, s.endpoints[slot].Addr, e.value, "pools use the same slots")
		all = append(all, e.value)
		used[slot] = true
	}
	require.Len(k.t, k.sets[p.endpoints.name], len(used))
	return all
}

// requireOnlySetsOf checks that all sets of ports with affinity, and of tables of consistent
// selection, belong to those of the state.
func (k *modelKernel) requireOnlySetsOf(st *tableState) {
	k.t.Helper()
	known := map[*set]bool{}
	for _, t := range st.selections {
		known[t.index], known[t.values] = true, true
		require.Positive(k.t, t.users, t.name)
	}
	for _, s := range st.affinityPorts {
		known[s.entries] = true
		for _, p := range s.pools {
			known[p.endpoints], known[p.index] = true, true
		}
	}
	for name, s := range k.kinds {
		if s.kind == endpointsBySlot || s.kind == slotsByIndex || s.kind == affinityEntries {
			require.True(k.t, known[s], "no port uses %s", name)
		}
	}
}

// read is an [elementReader].
func (k *modelKernel) read(name string) []nfnl.Element {
	var all []nfnl.Element
	for mk, e := range k.sets[name] {
		if k.kinds[name].kind == affinityEntries {
			all = append(all, nfnl.Element{Key: mk.key.addr.Addr().AsSlice(), Data: binary.NativeEndian.AppendUint32(nil, e.target), Expires: e.expires})
		} else {
			all = append(all, nfnl.Element{Key: binary.NativeEndian.AppendUint32(nil, e.slot), Data: appendPort(e.value.Addr().AsSlice(), e.value.Port())})
		}
	}
	return all
}

// clientEndpoints holds the endpoint of each client of each port with affinity.
type clientEndpoints map[string]map[netip.Addr]netip.AddrPort

// verify checks that the affinity entries lead to the expected endpoints, and that there are no
// entries for removed endpoints.
func (all clientEndpoints) verify(k *modelKernel, st *tableState) {
	k.t.Helper()
	for ref := range all {
		if st.affinityPorts[ref] == nil {
			delete(all, ref)
		}
	}
	for ref, s := range st.affinityPorts {
		var there []netip.AddrPort
		for number := range s.pools {
			there = append(there, k.poolEndpoints(s, number)...)
		}
		for client, endpoint := range all[ref] {
			if !slices.Contains(there, endpoint) {
				delete(all[ref], client)
			}
		}
		require.Len(k.t, k.sets[s.entries.name], len(all[ref]), ref)
		for mk, e := range k.sets[s.entries.name] {
			client := mk.key.addr.Addr()
			require.Equal(k.t, all[ref][client], s.endpoints[e.target].Addr, client)
			require.LessOrEqual(k.t, e.expires, s.timeout)
		}
	}
}

// connectClients adds affinity entries as packets of clients do.
func (g generator) connectClients(k *modelKernel, st *tableState, all clientEndpoints) {
	for _, ref := range slices.Sorted(func(yield func(string) bool) {
		for ref := range st.affinityPorts {
			if !yield(ref) {
				return
			}
		}
	}) {
		s := st.affinityPorts[ref]
		for range g.IntN(4) {
			client := netip.AddrFrom4([4]byte{192, 0, 2, byte(g.IntN(20))})
			if st.family.addrLen == 16 {
				client = netip.AddrFrom16([16]byte{0: 0x20, 15: byte(g.IntN(20))})
			}
			if _, known := all[ref][client]; known {
				continue
			}
			if all[ref] == nil {
				all[ref] = map[netip.Addr]netip.AddrPort{}
			}
			slot := g.IntN(len(s.endpoints))
			e := element{key: frontendKey{addr: netip.AddrPortFrom(client, 0)}, target: uint32(slot), expires: s.timeout}
			k.sets[s.entries.name][modelOp{s.entries, e}.key()] = e
			all[ref][client] = s.endpoints[slot].Addr
		}
	}
}

func TestAffinityIDsAreUniqueAndStable(t *testing.T) {
	name := localsink.ServiceName{Namespace: "ns", Name: "web"}
	p := localsink.Port{Name: "http", Protocol: localsink.ProtocolTCP, Affinity: time.Hour}
	require.Equal(t, "web-7a9262c9bcee7436", newAffinityID(name, &p, 0))
	require.NotEqual(t, newAffinityID(name, &p, 0),
		newAffinityID(localsink.ServiceName{Namespace: "ns", Name: "web", Origin: "ServiceImport"}, &p, 0), "objects of different origin coexist")
	seen := map[string]bool{newAffinityID(name, &p, 0): true}
	for _, other := range []struct {
		namespace, name, port string
		proto                 localsink.Protocol
		duplicates            int
	}{
		{"ns2", "web", "http", localsink.ProtocolTCP, 0},
		{"ns", "web2", "http", localsink.ProtocolTCP, 0},
		{"ns", "web", "https", localsink.ProtocolTCP, 0},
		{"ns", "web", "http", localsink.ProtocolUDP, 0},
		{"ns", "web", "http", localsink.ProtocolTCP, 1},
		{"n", "sweb", "http", localsink.ProtocolTCP, 0},
		{"ns", strings.Repeat("long", 100), "http", localsink.ProtocolTCP, 0},
		{"ns", "we {b};\x00\"é", "http", localsink.ProtocolTCP, 0},
	} {
		id := newAffinityID(localsink.ServiceName{Namespace: other.namespace, Name: other.name},
			&localsink.Port{Name: other.port, Protocol: other.proto}, other.duplicates)
		require.False(t, seen[id], id)
		seen[id] = true
		require.True(t, isIdentifier(poolIndexMapName(id, 10, 1)), id)
		pl := dispatch{match: matchNodePort, affinityID: id, count: 3, branches: [maxPools]branch{
			{from: localsink.FromLocalPods, pool: 10, masquerade: true}, {from: localsink.FromThisNode, pool: 11, masquerade: true}, {pool: 12, masquerade: true}}}
		require.Less(t, len(pl.name()), 128)
		require.True(t, isIdentifier(pl.name()), pl.name())
	}
	s := localsink.Service{Name: name, Ports: []localsink.Port{p, {Name: "http", Protocol: localsink.ProtocolTCP}, p}}
	require.Equal(t, newAffinityID(name, &p, 0), affinityIDOf(&s, 0))
	require.Empty(t, affinityIDOf(&s, 1))
	require.Equal(t, newAffinityID(name, &p, 1), affinityIDOf(&s, 2))
	// Ports with another protocol or name are not duplicates.
	udp, other := p, p
	udp.Protocol, other.Name = localsink.ProtocolUDP, "other"
	s.Ports = []localsink.Port{udp, other, p}
	require.Equal(t, newAffinityID(name, &p, 0), affinityIDOf(&s, 2))
}

// Endpoints keep their slots until one is removed. A pool that another pool contains has the
// first slots.
func TestAffinitySlotsKeepEndpointsInPlace(t *testing.T) {
	g := newGenerator(t)
	for range 3000 {
		all := g.equalEndpoints(false)
		pools := []localsink.Pool{{Endpoints: all}, {Endpoints: all[g.IntN(len(all)+1):]}}
		held, removed := affinitySlots(nil, pools)
		require.False(t, removed)
		require.Equal(t, all, append([]localsink.Endpoint(nil), sortEndpoints(slices.Clone(held))...))
		require.ElementsMatch(t, pools[1].Endpoints, held[:len(pools[1].Endpoints)])

		pools[0].Endpoints = g.equalEndpoints(false)
		if g.IntN(2) == 0 {
			pools[0].Endpoints = sortEndpoints(append(slices.Clone(all), g.endpoint(false)))
		}
		slots, removed := affinitySlots(held, pools)
		require.Equal(t, sortEndpoints(slices.Concat(pools[0].Endpoints, pools[1].Endpoints)), sortEndpoints(slices.Clone(slots)))
		if !removed {
			for i := range held {
				require.Equal(t, held[i].Addr, slots[i].Addr)
			}
		}
		require.Equal(t, removed, slices.ContainsFunc(held, func(h localsink.Endpoint) bool {
			return !slices.ContainsFunc(slots, func(p localsink.Endpoint) bool { return p.Addr == h.Addr })
		}))
	}
}

func TestAffinityChangeCopiesEntriesOnlyWhenNeeded(t *testing.T) {
	k := newModelKernel(t)
	st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	var s *affinityPort
	apply := func(affinity time.Duration, endpoints ...string) (ops int) {
		svc := newService("a", localsink.Port{Affinity: affinity, Pools: []localsink.Pool{newLocalPool(endpoints...)}, Frontends: []localsink.Frontend{
			newFrontend(localsink.KindClusterIP, "10.96.0.1:80"), newFrontend(localsink.KindNodePort, "0.0.0.0:30080", localsink.Route{Masquerade: true})}})
		before := k.ops
		st.apply([]serviceChange{{name: svc.Name, desired: svc}}, nil)
		require.True(t, st.sizeSets())
		k.commit(st)
		k.verify(st, slices.Values([]*localsink.Service{svc}))
		s = nil
		for _, s = range st.affinityPorts {
			require.Len(t, st.affinityPorts, 1, "all frontends share the port's entries")
		}
		return k.ops - before
	}
	client := netip.MustParseAddr("192.0.2.9")
	addEntry := func(slot uint32, remaining time.Duration) {
		e := element{key: frontendKey{addr: netip.AddrPortFrom(client, 0)}, target: slot, expires: remaining}
		k.sets[s.entries.name][modelOp{s.entries, e}.key()] = e
	}
	entry := func() (string, time.Duration) {
		for _, e := range k.sets[s.entries.name] {
			return s.endpoints[e.target].Addr.String(), e.expires
		}
		return "", 0
	}
	apply(time.Hour, "10.0.0.3:80", "10.0.0.5:80")
	addEntry(1, 30*time.Minute)
	first := s.entries
	require.Equal(t, 2, apply(time.Hour, "10.0.0.1:80", "10.0.0.3:80", "10.0.0.5:80"), "one endpoint and its hairpin element")
	require.Same(t, first, s.entries)
	require.Zero(t, apply(time.Hour, "10.0.0.1:80", "10.0.0.3:80", "10.0.0.5:80"))

	apply(time.Hour, "10.0.0.1:80", "10.0.0.5:80")
	require.NotSame(t, first, s.entries)
	endpoint, remaining := entry()
	require.Equal(t, "10.0.0.5:80", endpoint)
	require.Equal(t, 30*time.Minute, remaining)

	apply(3*time.Hour, "10.0.0.1:80", "10.0.0.5:80")
	require.Equal(t, 3*time.Hour, s.entries.timeout)
	_, remaining = entry()
	require.Equal(t, 30*time.Minute, remaining, "unchanged until the next connection")
	apply(time.Minute, "10.0.0.1:80", "10.0.0.5:80")
	_, remaining = entry()
	require.Equal(t, time.Minute, remaining, "no longer than the new timeout")

	apply(time.Minute, "10.0.0.1:80", "10.0.0.9:80")
	endpoint, _ = entry()
	require.Empty(t, endpoint)
	many := []string{"10.0.0.1:80", "10.0.0.9:80"}
	for i := range 100 { // more than the map has room for
		many = append(many, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 1, byte(i)}), 80).String())
	}
	addEntry(1, time.Second)
	apply(time.Minute, many...)
	endpoint, _ = entry()
	require.Equal(t, "10.0.0.9:80", endpoint)
	apply(0, many...)
	require.Nil(t, s)
	sets := len(st.sets)
	for range 10 { // indexes of deleted sets are reused
		apply(time.Minute, many...)
		apply(0, many[:2]...)
	}
	require.Len(t, st.sets, sets)
}

// Both dispatch chains lose a reference and get another.
func TestAffinityFrontendsExchangeDispatchChains(t *testing.T) {
	k := newModelKernel(t)
	st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	exchange := func(masqueraded int) *localsink.Service {
		frontends := []localsink.Frontend{newFrontend(localsink.KindClusterIP, "10.96.0.1:80"), newFrontend(localsink.KindExternalIP, "198.51.100.1:80")}
		frontends[masqueraded].Routes = []localsink.Route{{Masquerade: true}}
		return newService("a", localsink.Port{Affinity: time.Minute, Pools: []localsink.Pool{newLocalPool("10.0.0.1:80")}, Frontends: frontends})
	}
	for i := range 4 {
		svc := exchange(i % 2)
		st.apply([]serviceChange{{name: svc.Name, desired: svc}}, nil)
		k.commit(st)
		k.verify(st, slices.Values([]*localsink.Service{svc}))
		require.Empty(t, st.change.unreferenced)
	}
	st.apply([]serviceChange{{name: exchange(0).Name}}, nil)
	k.commit(st)
	for c := range st.unused {
		require.True(t, c.isShared(), "%s was deleted", c.name)
	}
}

// Entries of an earlier process are found in the maps with either suffix.
func TestAffinityEntriesAreRestoredAfterRestart(t *testing.T) {
	k := newModelKernel(t)
	st := newTableState(ipv4(), newNodeMatches(ipv4(), nil), Config{MasqueradeMark: 1}, k)
	svc := newService("a", localsink.Port{Affinity: time.Minute, Pools: []localsink.Pool{newLocalPool("10.0.0.1:80", "10.0.0.2:80")},
		Frontends: []localsink.Frontend{newFrontend(localsink.KindClusterIP, "10.96.0.1:80")}})
	st.load(svc)
	id := affinityIDOf(svc, 0)
	ref := id + "-pool1"
	slot := func(i uint32) []byte { return binary.NativeEndian.AppendUint32(nil, i) }
	at := func(addr string) []byte {
		a := netip.MustParseAddrPort(addr)
		return appendPort(a.Addr().AsSlice(), a.Port())
	}
	before := map[string][]nfnl.Element{
		"endpoints-" + ref + "-a": {{Key: slot(0), Data: at("10.0.0.9:80")}, {Key: slot(1), Data: at("10.0.0.1:80")}, {Key: slot(2), Data: at("10.0.0.2:80")}},
		"endpoints-" + ref + "-b": {{Key: slot(0), Data: at("10.0.0.2:80")}, {Key: slot(1), Data: at("10.0.0.2:81")}, {Key: slot(7), Data: []byte("bad")}},
		"affinity-" + id + "-a": {
			{Key: []byte{192, 0, 2, 1}, Data: slot(1), Expires: 30 * time.Second},
			{Key: []byte{192, 0, 2, 2}, Data: slot(0), Expires: 30 * time.Second},       // removed endpoint
			{Key: []byte{192, 0, 2, 3}, Data: slot(1), Expires: time.Hour},              // replaced by the longer lifetime below
			{Key: []byte{192, 0, 2, 4}, Data: slot(1), Expires: time.Millisecond},       // shorter than minRemaining
			{Key: []byte{192, 0, 2, 5}, Data: slot(6), Expires: time.Hour},              // no endpoint in this slot
			{Key: []byte{192, 0, 2, 6}, Data: slot(1)}, {Key: []byte{1}, Data: slot(1)}, // malformed
			{Key: []byte{192, 0, 2, 7}, Expires: time.Hour},
		},
		"affinity-" + id + "-b": {{Key: []byte{192, 0, 2, 3}, Data: slot(0), Expires: 2 * time.Hour}, {Key: []byte{192, 0, 2, 8}, Data: slot(1), Expires: time.Hour}},
	}
	st.copyAffinityEntries(func(set string) []nfnl.Element { return before[set] })
	k.apply()
	got := map[string]string{}
	for mk, e := range k.sets["affinity-"+id+"-a"] {
		got[mk.key.addr.Addr().String()] = st.affinityPorts[id].endpoints[e.target].Addr.String() + " " + e.expires.String()
	}
	require.Equal(t, map[string]string{"192.0.2.1": "10.0.0.1:80 30s", "192.0.2.3": "10.0.0.2:80 1m0s"}, got)
}
