// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/internal/pointermap"
	"sigs.k8s.io/kpng/localsink"
)

// A txWriter receives the operations of one transaction, in any order. They take effect
// together and in this order: new sets and chains, rules, removed elements, added elements,
// deleted chains, deleted sets.
type txWriter interface {
	newSet(s *set)
	newChain(c chainSpec)
	setRules(c chainSpec) // replaces all rules of an existing chain
	dropChain(name string)
	dropSet(s *set)
	remove(s *set, e element) // e is the whole element
	add(s *set, e element)
}

// A tableState is what the kernel holds of one table, as far as needed to compute the next
// change. A change has two transactions:
//
//  1. prepare computes the difference between the state and the desired Services, writes
//     it to out and updates the state.
//  2. cleanUp, after the kernel has acknowledged the first transaction, writes the removal
//     of what packets in flight may still have needed.
//
// If the kernel does not acknowledge a transaction, the state is wrong and its owner must
// discard it. A tableState is not safe for concurrent use.
type tableState struct {
	objects
	node *nodeMatches
	mark uint32 // masquerade mark
	// drifted reports whether another program has changed the table, so that it must be replaced.
	drifted bool

	sharedChains
	programmed
	failures
	affinityPorts map[string]*affinityPort // by affinity ID
	selections    map[selectionKey]*selectionTable
	lastSelection int // number of tables of consistent selection that have existed
	// countedPorts holds the Service of each port whose connections are counted together.
	countedPorts map[string]localsink.ServiceName

	change  pendingChange
	cleanup cleanup
}

// sharedChains are the chains that frontends of several Services refer to.
type sharedChains struct {
	dispatchChains map[dispatch]*chain // with affinity: of one port only
	firewallChains map[string]*chain
	// unused holds the chains without references, to be deleted when there are many.
	unused map[*chain]bool
	// passChain reports whether the chain for the verdict Pass exists.
	passChain bool
}

// programmed is the content of the maps, by Service.
type programmed struct {
	records       *pointermap.Map[localsink.ServiceName, serviceRecord]
	owners        map[frontendKey]*serviceRecord
	clusterIPRefs map[netip.Addr]int // frontends by address in the set of ClusterIPs
	hairpinRefs   map[netip.Addr]int // slots by address in the set of hairpin connections
}

// failures is what the table does not hold although it is desired.
type failures struct {
	problems  map[localsink.ServiceName][]localsink.Problem
	conflicts map[localsink.ServiceName]bool // Services with a frontend that another Service has
}

// A pendingChange is the state of a change between its parts; it is empty between changes.
type pendingChange struct {
	released     map[frontendKey]programmedFrontend // removed from one Service, free for others
	unreferenced []*chain                           // dispatch chains that are not shared and lost a reference
	unusedTables []*selectionTable                  // tables that lost a reference
	entryCopies  []entryCopy
}

// A serviceRecord is one Service with at least one programmed frontend.
type serviceRecord struct {
	name      localsink.ServiceName
	frontends []programmedFrontend
}

// A programmedFrontend is one frontend as the maps hold it.
type programmedFrontend struct {
	key       frontendKey
	clusterIP bool
	chain     *chain
	firewall  *chain // nil without source ranges
	slots     [maxPools]slotList
}

// A chain is a chain that exists while something refers to it, and some time longer.
type chain struct {
	name string
	refs int
	// permanent chains are never deleted: static chains and load-balancing chains.
	permanent bool
	dispatch  *dispatch // nil for firewall chains
}

// isShared reports whether frontends of other ports may need the chain again: it has neither
// session affinity nor consistent selection.
func (c *chain) isShared() bool {
	return c.dispatch == nil || c.dispatch.affinityID == "" && c.dispatch.selection == localsink.SelectionRandom
}

// newTableState returns the state of a table without Services and writes its objects to out.
// cfg must have its defaults.
func newTableState(f *family, node *nodeMatches, cfg Config, out txWriter) *tableState {
	st := &tableState{
		objects: objects{
			family: f, out: out, counting: cfg.CountConnections, withoutHash: cfg.withoutHash,
			endpointMaps: map[endpointMap]*set{},
			lbChains:     map[lbChain]bool{},
		},
		node: node, mark: cfg.MasqueradeMark,
		sharedChains: sharedChains{
			dispatchChains: map[dispatch]*chain{},
			firewallChains: map[string]*chain{},
			unused:         map[*chain]bool{},
		},
		programmed: programmed{
			records:       pointermap.New(func(r *serviceRecord) localsink.ServiceName { return r.name }),
			owners:        map[frontendKey]*serviceRecord{},
			clusterIPRefs: map[netip.Addr]int{},
			hairpinRefs:   map[netip.Addr]int{},
		},
		failures: failures{
			problems:  map[localsink.ServiceName][]localsink.Problem{},
			conflicts: map[localsink.ServiceName]bool{},
		},
		affinityPorts: map[string]*affinityPort{},
		selections:    map[selectionKey]*selectionTable{},
		countedPorts:  map[string]localsink.ServiceName{},
		change:        pendingChange{released: map[frontendKey]programmedFrontend{}},
	}
	st.newStaticSets()
	for _, c := range staticChains(f, node, st.mark) {
		st.newChain(c)
	}
	// A rule that begins to use a map walks all of it, so the usual load-balancing chains
	// are created while the endpoint maps are empty.
	for n := 1; n <= preallocatedSize; n++ {
		st.ensureLBChain(lbChain{matchAddress, 1, n})
		st.ensureLBChain(lbChain{matchNodePort, 1, n})
	}
	return st
}

// setNode writes the rules that contain exceptions from masquerading, if those of node are others.
// Apart from them, node must lead to the same rules as before.
func (st *tableState) setNode(node *nodeMatches) {
	if !slices.Equal(st.node.noMasquerade, node.noMasquerade) {
		st.out.setRules(chainSpec{name: chainMasquerading, rules: masqueradingRules(st.family, node, st.mark)})
	}
	st.node = node
}

// prepare writes the first transaction of a change. get returns the desired state of a
// Service, or nil; read returns the elements that a set has in the kernel. prepare fails
// with errFull if a set is too small: the table must be rebuilt.
func (st *tableState) prepare(changes []serviceChange, get func(localsink.ServiceName) *localsink.Service, read elementReader) error {
	st.apply(changes, get)
	st.copyAffinityEntries(read)
	if !st.sizeSets() {
		return errFull
	}
	return nil
}

// ensureDispatchChain returns the chain of a dispatch, created if necessary. With affinity,
// the affinity port must exist.
func (st *tableState) ensureDispatchChain(d dispatch) *chain {
	if c := st.dispatchChains[d]; c != nil {
		return c
	}
	for lb := range d.lbChains {
		st.ensureLBChain(lb)
	}
	if d.passes() && !st.passChain {
		st.passChain = true
		st.newChain(chainSpec{name: chainPass, comment: commentPass, rules: []rule{{verdict(nfnl.VerdictAccept, "")}}})
	}
	for _, b := range d.branches[:d.count] {
		if b.table != nil {
			st.ensureTableChain(b.table, d.selection, d.proto)
		}
	}
	_, direct := d.directTarget()
	c := &chain{name: d.name(), permanent: direct, dispatch: &d}
	if !direct {
		st.unused[c] = true
		st.newChain(chainSpec{name: c.name, comment: d.comment(), rules: d.rules(st.family, st.node, st.mark)})
	}
	if d.affinityID != "" {
		st.affinityPorts[d.affinityID].refs++
	}
	st.dispatchChains[d] = c
	return c
}

// ensureFirewallChain returns the chain of the source ranges, created if necessary.
func (st *tableState) ensureFirewallChain(r sourceRanges) *chain {
	if c := st.firewallChains[r.name]; c != nil {
		return c
	}
	c := &chain{name: r.name}
	st.unused[c] = true
	st.firewallChains[r.name] = c
	st.newChain(chainSpec{name: r.name, comment: commentFirewall, rules: r.rules(st.family)})
	return c
}

func (st *tableState) releaseChain(c *chain) {
	for t := range c.tables {
		t.users--
		st.change.unusedTables = append(st.change.unusedTables, t)
	}
	if c.refs--; c.refs > 0 {
		return
	}
	if !c.permanent {
		st.unused[c] = true
	}
	if !c.isShared() {
		st.change.unreferenced = append(st.change.unreferenced, c)
	}
}

// deleteUnusedChains deletes the chains without references. Kernels before 6.2 refuse to
// delete a chain in the transaction that removes its last reference, so the caller must have
// committed that transaction.
func (st *tableState) deleteUnusedChains() {
	for c := range st.unused {
		if c.dispatch != nil {
			delete(st.dispatchChains, *c.dispatch)
		} else {
			delete(st.firewallChains, c.name)
		}
		st.dropChain(c.name)
	}
	clear(st.unused)
}
