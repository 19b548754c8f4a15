// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// A modelKernel is a [txWriter] that behaves like the kernel: it fails the test if an operation is
// invalid, and computes what happens to connections.
type modelKernel struct {
	t      testing.TB
	sets   map[string]map[modelKey]element
	kinds  map[string]*set
	chains map[string]bool
	rules  map[string]*nfnl.Batch // encoded rules, by chain
	tables map[string]string      // digests of tables, in connections
	f      *family
	// Of the transaction being written:
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
	k.requireName(s.name, s.comment)
	k.sets[s.name], k.kinds[s.name] = map[modelKey]element{}, s
}

func (k *modelKernel) newChain(c chainSpec) {
	require.False(k.t, k.chains[c.name], c.name)
	k.requireName(c.name, c.comment)
	k.chains[c.name] = true
	k.setRules(c)
}

// requireName checks that nft accepts the name and the comment of an object.
func (k *modelKernel) requireName(name, comment string) {
	k.t.Helper()
	require.Less(k.t, len(name), 128)
	require.True(k.t, isIdentifier(name), name)
	require.NotEmpty(k.t, comment, name)
	require.Less(k.t, len(comment), 128, name)
	require.NotContains(k.t, comment, `"`)
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

// commit applies both transactions of a change and checks the counts of the state.
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
		if _, found := k.sets[op.set.name][op.key()]; !found {
			require.Fail(k.t, "ENOENT", "%v in %s", op.key(), op.set.name)
		}
		delete(k.sets[op.set.name], op.key())
	}
	for _, op := range k.added {
		if _, found := k.sets[op.set.name][op.key()]; found {
			require.Fail(k.t, "EEXIST", "%v in %s", op.key(), op.set.name)
		}
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

// A connectionResult is what happens to the connections of one kind of client to a frontend.
type connectionResult struct {
	masquerade bool
	verdict    string
	refused    uint16
	selection  string           // of a table: what it selects by, and a digest of its content
	endpoints  []netip.AddrPort // sorted
	firewall   string           // firewall chain
}

func (a connectionResult) String() string {
	return fmt.Sprint(a.masquerade, a.verdict, a.refused, a.selection, a.endpoints, a.firewall)
}

// connections returns the results for each frontend and kind of client. It checks that the kernel
// holds nothing else.
func (k *modelKernel) connections(st *tableState) map[string]connectionResult {
	k.t.Helper()
	dispatches := map[string]dispatch{}
	for d, c := range st.dispatchChains {
		dispatches[c.name] = d
	}
	got, slots := map[string]connectionResult{}, 0
	k.tables = map[string]string{}
	affinityIDs := map[string]bool{}
	for _, pair := range [][2]string{{mapServiceIPs, mapFirewallIPs}, {mapServiceNodePorts, mapFirewallNodePorts}} {
		for mk, e := range k.sets[pair[0]] {
			d, ok := dispatches[e.chain]
			require.True(k.t, ok, e.chain)
			seen := map[uint8]bool{}
			for _, from := range everyFrom() {
				b := firstBranch(d, from)
				a := connectionResult{masquerade: b.masquerade, firewall: k.sets[pair[1]][mk].chain}
				switch {
				case b.pool == 0:
					a.verdict = b.empty.String()
				case d.affinityID != "":
					affinityIDs[d.affinityID] = true
					a.refused = st.affinityPorts[d.affinityID].refused
					a.endpoints = k.poolEndpoints(st.affinityPorts[d.affinityID], int(b.pool))
					if s := st.affinityPorts[d.affinityID].selection; isConsistent(s) && len(a.endpoints) > 1 {
						a.selection, a.endpoints = digestOf(s, a.endpoints), nil
					}
					slices.SortFunc(a.endpoints, netip.AddrPort.Compare)
				case b.table != nil:
					a.refused = d.refused
					a.selection = k.tableContent(st, b.table, d)
				default:
					a.refused = d.refused
					s := k.sets[d.lbChain(b).endpointMap().name()]
					for i := range b.size {
						slot, ok := s[modelKey{mk.key, uint32(i)}]
						if !ok {
							require.Fail(k.t, "missing slot", "slot %d of %v", i, mk.key)
						}
						a.endpoints = append(a.endpoints, slot.value)
					}
					slices.SortFunc(a.endpoints, netip.AddrPort.Compare)
					if !seen[uint8(b.pool)] {
						slots += int(b.size)
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
	require.Equal(k.t, slots, held, "all slots are used")
	require.Len(k.t, st.affinityPorts, len(affinityIDs), "all ports with affinity are used")
	k.requireOnlySetsOf(st)
	require.Equal(k.t, len(k.sets[mapFirewallIPs])+len(k.sets[mapFirewallNodePorts]), countFirewalls(got), "all source ranges are used")
	return got
}

// tableContent returns the selection of a dispatch with a digest of the endpoint of each slot.
func (k *modelKernel) tableContent(st *tableState, t *selectionTable, d dispatch) string {
	k.t.Helper()
	chain := t.chainOf(d.selection, d.proto)
	if content := k.tables[chain]; content != "" {
		return content
	}
	require.Same(k.t, t, st.selections[t.key])
	require.True(k.t, k.chains[chain], chain)
	index, values := k.sets[t.index.name], k.sets[t.values.name]
	require.True(k.t, k.rules[chain].Contains([]byte(t.index.name+"\x00")) && k.rules[chain].Contains([]byte(t.values.name+"\x00")))
	var endpoints []netip.AddrPort
	for slot := range len(index) {
		e, ok := values[modelKey{slot: index[modelKey{slot: uint32(slot)}].target}]
		if !ok {
			require.Fail(k.t, "missing endpoint", "slot %d of %s", slot, t.name)
		}
		endpoints = append(endpoints, e.value)
	}
	require.Len(k.t, values, len(t.endpoints))
	require.Len(k.t, index, t.index.size)
	k.tables[chain] = digestOf(d.selection, endpoints)
	return k.tables[chain]
}

// digestOf returns a selection with a digest of the endpoint of each slot.
func digestOf(s localsink.Selection, endpoints []netip.AddrPort) string {
	h := sha256.New()
	var buf []byte
	for _, e := range endpoints {
		buf, _ = e.AppendBinary(buf[:0])
		h.Write(buf)
	}
	return fmt.Sprintf("%v %x", s, h.Sum(nil))
}

// desiredTable returns what tableContent must return for a pool.
func desiredTable(s localsink.Selection, endpoints []localsink.Endpoint) string {
	var list []consistent.Endpoint
	for _, e := range endpoints {
		list = append(list, consistent.Endpoint{Addr: e.Addr, Weight: e.Weight})
	}
	var ofSlots []netip.AddrPort
	for _, i := range consistent.NewTable(list) {
		ofSlots = append(ofSlots, list[i].Addr)
	}
	return digestOf(s, ofSlots)
}

func everyFrom() []localsink.From {
	return []localsink.From{localsink.FromLocalPods, localsink.FromThisNode, localsink.FromAny}
}

func countFirewalls(got map[string]connectionResult) int {
	n := 0
	for _, a := range got {
		if a.firewall != "" {
			n++
		}
	}
	return n / len(everyFrom())
}

func firstBranch(d dispatch, from localsink.From) branch {
	for _, b := range d.branches[:d.count] {
		if b.from == from || b.from == localsink.FromAny {
			return b
		}
	}
	return branch{}
}

// desiredConnections computes from the Services what the maps must lead to.
func desiredConnections(f *family, services iter.Seq[*localsink.Service]) (want map[string]connectionResult, clusterIPs, hairpin map[netip.Addr]bool) {
	want, clusterIPs, hairpin = map[string]connectionResult{}, map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for s := range services {
		for _, p := range s.Ports {
			tables := map[int]string{} // by pool
			for _, fe := range p.Frontends {
				if !f.has(fe.Addr.Addr()) {
					continue
				}
				if fe.Kind == localsink.KindClusterIP {
					clusterIPs[fe.Addr.Addr()] = true
				}
				k := frontendKey{fe.Addr, p.Protocol}
				for _, from := range everyFrom() {
					r := fe.Routes[slices.IndexFunc(fe.Routes, func(r localsink.Route) bool { return r.From == from || r.From == localsink.FromAny })]
					a := connectionResult{}
					if fe.SourceRanges != nil {
						a.firewall = newSourceRanges(f, fe.SourceRanges).name
					}
					for _, e := range withRepeatedEndpoints(p.Pools)[r.Pool].Endpoints {
						a.masquerade = r.Masquerade
						a.endpoints = append(a.endpoints, e.Addr)
						if e.Local {
							hairpin[e.Addr.Addr()] = true
						}
					}
					switch endpoints := p.Pools[r.Pool].Endpoints; {
					case isConsistent(p.Selection) && len(endpoints) > 1:
						if tables[r.Pool] == "" {
							tables[r.Pool] = desiredTable(p.Selection, endpoints)
						}
						a.selection, a.endpoints, a.refused = tables[r.Pool], nil, p.RefusedPerMille
					case len(endpoints) == 0:
						a.verdict = r.EmptyVerdict.String()
					default:
						a.refused = p.RefusedPerMille
					}
					want[fmt.Sprint(k, " ", from)] = a
				}
			}
		}
	}
	return want, clusterIPs, hairpin
}

// verify checks that the kernel implements the Services and holds nothing else.
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
