// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A modelKernel is a script that behaves like the kernel: it is strict about what
// is removed and added twice, and can be asked what happens to a connection.
type modelKernel struct {
	t      testing.TB
	sets   map[string]map[modelKey]element
	kinds  map[string]*set
	chains map[string]bool
	rules  map[string]*nfnl.Batch // those of chains, encoded
	f      *family
	// The script under way.
	removed, added []modelOp
	deletedChains  []string
	deletedSets    []*set
	ops            int
}

type modelKey struct {
	key  frontendKey
	slot uint32
}

type modelOp struct {
	set *set
	e   element
}

func newModelKernel(t testing.TB) *modelKernel {
	return &modelKernel{t: t, f: ipv4(), sets: map[string]map[modelKey]element{}, kinds: map[string]*set{},
		chains: map[string]bool{}, rules: map[string]*nfnl.Batch{}}
}

func (k *modelKernel) newSet(s *set) {
	require.NotContains(k.t, k.sets, s.name)
	k.sets[s.name], k.kinds[s.name] = map[modelKey]element{}, s
}

func (k *modelKernel) newChain(c chainSpec) {
	require.False(k.t, k.chains[c.name], c.name)
	require.Less(k.t, len(c.name), 128)
	k.chains[c.name] = true
	k.setRules(c)
}

func (k *modelKernel) setRules(c chainSpec) {
	require.True(k.t, k.chains[c.name], c.name)
	tx := transaction{family: k.f, table: "model"}
	tx.batch.Reset()
	for _, r := range c.rules {
		tx.ruleMessage("model", r)
	}
	k.rules[c.name] = &tx.batch
}

// requireUnused checks that no rule refers to a chain or set.
func (k *modelKernel) requireUnused(name string) {
	k.t.Helper()
	for chain, b := range k.rules {
		require.False(k.t, b.Contains([]byte(name+"\x00")), "EBUSY: %s is used by %s", name, chain)
	}
}

func (k *modelKernel) dropChain(name string)    { k.deletedChains = append(k.deletedChains, name) }
func (k *modelKernel) dropSet(s *set)           { k.deletedSets = append(k.deletedSets, s) }
func (k *modelKernel) remove(s *set, e element) { k.removed = append(k.removed, modelOp{s, e}) }
func (k *modelKernel) add(s *set, e element)    { k.added = append(k.added, modelOp{s, e}) }

func (op modelOp) key() modelKey {
	k := op.e.key
	if k.matchKind() == matchNodePort && op.set.kind != addresses && op.set.kind != addressPairs {
		k.addr = netip.AddrPortFrom(netip.Addr{}, k.addr.Port())
	}
	return modelKey{k, op.e.slot}
}

// commit applies the scripts of a change.
func (k *modelKernel) commit(st *tableState) {
	k.t.Helper()
	st.copyAffinityEntries(k.read)
	k.apply()
	st.cleanUp()
	k.apply()
	total := 0
	for name, s := range k.kinds {
		require.Same(k.t, s, st.sets[s.index])
		if s.kind != affinityEntries {
			require.Equal(k.t, len(k.sets[name]), s.count, "count of %s", name)
		}
		total += s.count
	}
	require.Equal(k.t, total, st.elementCount)
}

func (k *modelKernel) apply() {
	k.t.Helper()
	for _, op := range k.removed {
		require.Contains(k.t, k.sets[op.set.name], op.key(), "ENOENT in %s", op.set.name)
		delete(k.sets[op.set.name], op.key())
	}
	for _, op := range k.added {
		require.NotContains(k.t, k.sets[op.set.name], op.key(), "EEXIST in %s", op.set.name)
		if op.e.chain != "" {
			require.True(k.t, k.chains[op.e.chain], "no chain %q", op.e.chain)
		}
		k.sets[op.set.name][op.key()] = op.e
	}
	for _, name := range k.deletedChains {
		for _, s := range k.sets {
			for _, e := range s {
				require.NotEqual(k.t, name, e.chain, "EBUSY")
			}
		}
		k.requireUnused(name)
		delete(k.chains, name)
		delete(k.rules, name)
	}
	for _, s := range k.deletedSets {
		require.Contains(k.t, k.sets, s.name)
		k.requireUnused(s.name)
		delete(k.sets, s.name)
		delete(k.kinds, s.name)
	}
	k.ops += len(k.removed) + len(k.added)
	k.removed, k.added, k.deletedChains, k.deletedSets = nil, nil, nil, nil
}

// An connection is what happens to a connection.
type connection struct {
	masquerade bool
	verdict    string
	endpoints  []netip.AddrPort // in order
	sources    string
}

func (a connection) String() string {
	return fmt.Sprint(a.masquerade, a.verdict, a.endpoints, a.sources)
}

// connections returns what happens to every kind of client of every key, and checks
// that the kernel holds nothing else.
func (k *modelKernel) connections(st *tableState) map[string]connection {
	k.t.Helper()
	plans := map[string]dispatch{}
	for p, c := range st.dispatchChains {
		plans[c.name] = p
	}
	got, slots := map[string]connection{}, 0
	stickies := map[string]bool{}
	for _, pair := range [][2]string{{mapServiceIPs, mapFirewallIPs}, {mapServiceNodePorts, mapFirewallNodePorts}} {
		for mk, e := range k.sets[pair[0]] {
			p, ok := plans[e.chain]
			require.True(k.t, ok, e.chain)
			seen := map[uint8]bool{}
			for _, from := range everyFrom {
				b := firstBranch(p, from)
				a := connection{masquerade: b.masquerade, sources: k.sets[pair[1]][mk].chain}
				if b.pool == 0 {
					a.verdict = b.empty.String()
				} else if p.affinityID != "" {
					stickies[p.affinityID] = true
					a.endpoints = k.poolEndpoints(st.affinityPorts[p.affinityID], b.pool)
				} else {
					s := k.sets[p.lbChain(b).endpointMap().name()]
					for i := range b.size {
						slot, ok := s[modelKey{mk.key, uint32(i)}]
						require.True(k.t, ok, "slot %d of %v", i, mk.key)
						a.endpoints = append(a.endpoints, slot.value)
					}
					slices.SortFunc(a.endpoints, netip.AddrPort.Compare)
					if !seen[uint8(b.pool)] {
						slots += b.size
					}
					seen[uint8(b.pool)] = true
				}
				got[fmt.Sprint(e.key, " ", from)] = a
			}
		}
	}
	held := 0
	for _, s := range st.endpointMaps {
		held += len(k.sets[s.name])
	}
	require.Equal(k.t, slots, held, "slots that nobody uses")
	require.Len(k.t, st.affinityPorts, len(stickies), "ports with affinity that nobody uses")
	k.requireOnlySetsOf(st.affinityPorts)
	require.Equal(k.t, len(k.sets[mapFirewallIPs])+len(k.sets[mapFirewallNodePorts]), countSources(got), "sources that nobody uses")
	return got
}

var everyFrom = []localsink.From{localsink.FromLocalPods, localsink.FromThisNode, localsink.FromAny}

func countSources(got map[string]connection) int {
	n := 0
	for _, a := range got {
		if a.sources != "" {
			n++
		}
	}
	return n / len(everyFrom)
}

func firstBranch(p dispatch, from localsink.From) branch {
	for _, b := range p.branches[:p.count] {
		if b.from == from || b.from == localsink.FromAny {
			return b
		}
	}
	return branch{}
}

// desiredConnections computes the answers from the Services alone.
func desiredConnections(f *family, services iter.Seq[*localsink.Service]) (want map[string]connection, clusterIPs, hairpin map[netip.Addr]bool) {
	want, clusterIPs, hairpin = map[string]connection{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for s := range services {
		for _, p := range s.Ports {
			for _, fe := range p.Frontends {
				if !f.has(fe.Addr.Addr()) {
					continue
				}
				if fe.Kind == localsink.KindClusterIP {
					clusterIPs[fe.Addr.Addr()] = true
				}
				k := frontendKey{fe.Addr, p.Protocol}
				for _, from := range everyFrom {
					r := fe.Routes[slices.IndexFunc(fe.Routes, func(r localsink.Route) bool { return r.From == from || r.From == localsink.FromAny })]
					a := connection{}
					if fe.SourceRanges != nil {
						a.sources = newSourceRanges(f, fe.SourceRanges).name
					}
					for _, e := range p.Pools[r.Pool].Endpoints {
						a.masquerade = r.Masquerade
						a.endpoints = append(a.endpoints, e.Addr)
						if e.Local {
							hairpin[e.Addr.Addr()] = true
						}
					}
					if len(a.endpoints) == 0 {
						a.verdict = r.EmptyVerdict.String()
					}
					want[fmt.Sprint(k, " ", from)] = a
				}
			}
		}
	}
	return want, clusterIPs, hairpin
}

// verify compares what the kernel does with what the Services want.
func (k *modelKernel) verify(st *tableState, services iter.Seq[*localsink.Service]) {
	k.t.Helper()
	want, clusterIPs, hairpin := desiredConnections(st.family, services)
	got := k.connections(st)
	require.Len(k.t, got, len(want))
	for what, w := range want {
		require.Equal(k.t, w.String(), got[what].String(), what)
	}
	require.Equal(k.t, clusterIPs, k.addressesIn(setClusterIPs))
	require.Equal(k.t, hairpin, k.addressesIn(setHairpinConnections))
}

func (k *modelKernel) addressesIn(name string) map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	for mk := range k.sets[name] {
		all[mk.key.addr.Addr()] = true
	}
	return all
}

// A generator makes Services by chance.
type generator struct{ *rand.Rand }

func newGenerator(t testing.TB) generator {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return generator{rand.New(rand.NewPCG(seed, 0))}
}

// service makes a random Service; equal i means equal name and possible keys.
func (g generator) service(i int) *localsink.Service {
	s := &localsink.Service{Name: localsink.ServiceName{Namespace: "test", Name: fmt.Sprintf("svc-%d", i)}}
	for p := range 1 + g.IntN(2) {
		port := localsink.Port{Protocol: []localsink.Protocol{localsink.ProtocolTCP, localsink.ProtocolUDP, localsink.ProtocolSCTP}[g.IntN(3)]}
		if g.IntN(3) == 0 {
			port.Affinity = time.Duration(1+g.IntN(2)) * time.Hour
		}
		for _, v6 := range []bool{false, true} {
			if g.IntN(4) > 0 {
				g.family(&port, i, p, v6)
			}
		}
		s.Ports = append(s.Ports, port)
	}
	return s
}

// family adds frontends and pools of one family to a port.
func (g generator) family(port *localsink.Port, i, p int, v6 bool) {
	first := len(port.Pools)
	for range 1 + g.IntN(3) {
		port.Pools = append(port.Pools, localsink.Pool{Endpoints: g.endpoints(v6)})
	}
	addr := func(n byte) netip.Addr {
		if v6 {
			return netip.AddrFrom16([16]byte{0: 0xfd, 13: n, 14: byte(i), 15: 1})
		}
		return netip.AddrFrom4([4]byte{10, n, byte(i), 1})
	}
	for kind := localsink.KindClusterIP; kind <= localsink.KindLoadBalancer; kind++ {
		if g.IntN(3) == 0 {
			continue
		}
		fe := localsink.Frontend{Kind: kind, Addr: netip.AddrPortFrom(addr(byte(kind)), uint16(80+p))}
		if kind == localsink.KindNodePort {
			unspecified := netip.IPv4Unspecified()
			if v6 {
				unspecified = netip.IPv6Unspecified()
			}
			fe.Addr = netip.AddrPortFrom(unspecified, uint16(30000+10*i+p))
		}
		if g.IntN(4) == 0 {
			fe.SourceRanges = []netip.Prefix{}
			for range g.IntN(3) {
				fe.SourceRanges = append(fe.SourceRanges, netip.PrefixFrom(addr(byte(g.IntN(5))), 24+g.IntN(9)))
			}
		}
		for _, from := range []localsink.From{localsink.FromLocalPods, localsink.FromThisNode, localsink.FromAny} {
			if from == localsink.FromAny || g.IntN(2) == 0 {
				fe.Routes = append(fe.Routes, localsink.Route{From: from, Pool: first + g.IntN(len(port.Pools)-first),
					Masquerade: g.IntN(2) == 0, EmptyVerdict: localsink.Verdict(g.IntN(2))})
			}
		}
		port.Frontends = append(port.Frontends, fe)
	}
}

func (g generator) endpoint(v6 bool) localsink.Endpoint {
	n := byte(g.IntN(60))
	addr := netip.AddrFrom4([4]byte{10, 244, 0, n})
	if v6 {
		addr = netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x44, 15: n})
	}
	return localsink.Endpoint{Addr: netip.AddrPortFrom(addr, uint16(8080+g.IntN(2))), Local: n%3 == 0}
}

func (g generator) endpoints(v6 bool) []localsink.Endpoint {
	var all []localsink.Endpoint
	for range []int{0, 1, 2, 8, 9, 16, 17, 33, 40}[g.IntN(9)] {
		all = append(all, g.endpoint(v6))
	}
	return sortEndpoints(all)
}

func sortEndpoints(all []localsink.Endpoint) []localsink.Endpoint {
	slices.SortFunc(all, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return slices.CompactFunc(all, func(a, b localsink.Endpoint) bool { return a.Addr == b.Addr })
}

// modify returns a Service with some endpoints exchanged, added or removed, and
// sometimes moved on or off this node.
func (g generator) modify(s *localsink.Service) *localsink.Service {
	v := &localsink.Service{Name: s.Name, Ports: slices.Clone(s.Ports)}
	for i := range v.Ports {
		switch g.IntN(10) {
		case 0:
			v.Ports[i].Affinity = 0
		case 1:
			v.Ports[i].Affinity = time.Hour
		case 2:
			v.Ports[i].Affinity = 3 * time.Hour
		}
		v.Ports[i].Pools = slices.Clone(v.Ports[i].Pools)
		for j := range v.Ports[i].Pools {
			list := slices.Clone(v.Ports[i].Pools[j].Endpoints)
			if len(list) == 0 || g.IntN(2) == 0 {
				continue
			}
			at := g.IntN(len(list))
			switch g.IntN(4) {
			case 0:
				list = slices.Delete(list, at, at+1)
			case 1:
				list = append(list, g.endpoint(list[0].Addr.Addr().Is6()))
			case 2:
				list[at] = g.endpoint(list[0].Addr.Addr().Is6())
			default:
				list[at].Local = !list[at].Local
			}
			v.Ports[i].Pools[j].Endpoints = sortEndpoints(list)
		}
	}
	return v
}

// step changes some of the Services, and returns the names of those.
func (g generator) step(all map[localsink.ServiceName]*localsink.Service) []localsink.ServiceName {
	var names []localsink.ServiceName
	for _, i := range g.Perm(12)[:1+g.IntN(4)] {
		s := g.service(i)
		if old := all[s.Name]; old != nil && g.IntN(3) > 0 {
			s = g.modify(old)
		}
		if g.IntN(5) == 0 {
			delete(all, s.Name)
		} else {
			all[s.Name] = s
		}
		names = append(names, s.Name)
	}
	return names
}

func changesOf(all map[localsink.ServiceName]*localsink.Service, names []localsink.ServiceName) []serviceChange {
	var changes []serviceChange
	for _, n := range names {
		changes = append(changes, serviceChange{name: n, desired: all[n]})
	}
	return changes
}

// values yields the Services in name order.
func values(all map[localsink.ServiceName]*localsink.Service) iter.Seq[*localsink.Service] {
	return func(yield func(*localsink.Service) bool) {
		for _, n := range slices.SortedFunc(func(y func(localsink.ServiceName) bool) {
			for n := range all {
				if !y(n) {
					return
				}
			}
		}, func(a, b localsink.ServiceName) int { return cmp.Compare(a.Name, b.Name) }) {
			if !yield(all[n]) {
				return
			}
		}
	}
}
