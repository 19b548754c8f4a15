// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"sigs.k8s.io/kpng/localsink"
)

// A set is a set or map of the table.
type set struct {
	name  string
	kind  setKind
	jump  bool // verdicts come back when the chain ends without one
	index int  // its place among the sets of the table
	size  int  // how many elements it may hold; fixed when the kernel creates it
	// timeout ends elements that packets add.
	timeout time.Duration
	count   int // how many it holds
	pending int // its place in a transaction that touches it
}

// An element is an element of a set; which fields matter depends on the kind.
type element struct {
	key   frontendKey
	slot  uint32
	value netip.AddrPort // where the slot leads
	target    uint32         // the slot that a pin or a draw leads to
	expires  time.Duration  // until a pin ends
	chain string         // where the verdict leads
}

// A txWriter receives what must be done to the kernel's tables to follow a mirror.
// Nothing takes effect before the whole script is committed; removals come before
// additions, and new sets and chains before both.
type txWriter interface {
	newSet(*set)
	newChain(chainSpec)
	setRules(chainSpec) // in place of those that the chain has
	dropChain(name string)
	dropSet(*set) // after chains
	remove(*set, element)
	add(*set, element)
}

// A frontendKey is what clients dial. A node port has the unspecified address.
type frontendKey struct {
	addr  netip.AddrPort
	proto localsink.Protocol
}

func (k frontendKey) matchKind() matchKind {
	if k.addr.Addr().IsUnspecified() {
		return matchNodePort
	}
	return matchAddress
}

func (k frontendKey) String() string { return fmt.Sprintf("%v/%v", k.addr, k.proto) }

// A chain is a chain that comes and goes with those who refer to it.
type chain struct {
	name  string
	refs  int
	permanent bool  // part of the skeleton, or a balancer
	dispatch  *dispatch // nil for sources
}

// hasAffinity tells whether the chain is for one port alone.
func (c *chain) hasAffinity() bool { return c.dispatch != nil && c.dispatch.affinityID != "" }

// A programmedFrontend is one frontend as the kernel holds it.
type programmedFrontend struct {
	key       frontendKey
	clusterIP bool
	chain     *chain
	firewall   *chain
	slots     [maxPools][]localsink.Endpoint
}

// A serviceRecord is one Service as the kernel holds it.
type serviceRecord struct {
	name   localsink.ServiceName
	frontends []programmedFrontend
}

// A tableState is all that the kernel holds of one table, as far as it is needed to
// compute the next difference. It is told what is wanted and writes to a script
// what that takes. A mirror whose script was not committed is of no more use.
type tableState struct {
	family *family
	node   *nodeMatches
	mark   uint32
	out    txWriter

	// The objects of the table.
	sets                     []*set
	serviceIPs, nodePorts      *set
	firewallIPs, firewallNodePorts *set
	clusterIPs, hairpin      *set
	endpointMaps                   map[endpointMap]*set
	lbChains                map[lbChain]bool
	dispatchChains                    map[dispatch]*chain
	affinityPorts                 map[string]*affinityPort
	firewallChains             map[string]*chain
	chainCount                   int             // how many there are of all kinds
	unused                   map[*chain]bool // those of plans and sourceChains that nobody refers to
	elementCount                    int             // elements in all sets, without those that packets add

	// What is in them, and for whom.
	records       map[localsink.ServiceName]*serviceRecord
	owners        map[frontendKey]*serviceRecord
	clusterIPRefs map[netip.Addr]int
	hairpinRefs   map[netip.Addr]int

	// What is not in them.
	problems  map[localsink.ServiceName][]localsink.Problem
	conflicts map[localsink.ServiceName]bool // those that lost a key to another

	// The script under way.
	newSets  []*set
	overfull  []*set        // that hold more than they may, or did for a moment
	released map[frontendKey]programmedFrontend // given up by one Service, perhaps for another
	unreferenced     []*chain      // of one port alone, that lost a reference
	entryCopies  []entryCopy

	// For the script after this one.
	later        []removal
	doomedChains []string
	doomedSets   []*set
	vacant       []int // indexes of sets that are gone
}

// newTableState returns the mirror of a table that holds only what every table does,
// and writes that to out.
func newTableState(f *family, node *nodeMatches, mark uint32, out txWriter) *tableState {
	m := &tableState{
		family: f, node: node, mark: mark, out: out,
		endpointMaps:        map[endpointMap]*set{},
		dispatchChains:         map[dispatch]*chain{},
		affinityPorts:      map[string]*affinityPort{},
		firewallChains:  map[string]*chain{},
		unused:        map[*chain]bool{},
		lbChains:     map[lbChain]bool{},
		records:       map[localsink.ServiceName]*serviceRecord{},
		owners:        map[frontendKey]*serviceRecord{},
		clusterIPRefs: map[netip.Addr]int{},
		hairpinRefs:   map[netip.Addr]int{},
		problems:      map[localsink.ServiceName][]localsink.Problem{},
		conflicts:     map[localsink.ServiceName]bool{},
		released:      map[frontendKey]programmedFrontend{},
	}
	m.serviceIPs = m.newSet(mapServiceIPs, verdictsByAddress)
	m.nodePorts = m.newSet(mapServiceNodePorts, verdictsByNodePort)
	m.firewallIPs = m.newSet(mapFirewallIPs, verdictsByAddress)
	m.firewallNodePorts = m.newSet(mapFirewallNodePorts, verdictsByNodePort)
	m.firewallIPs.jump, m.firewallNodePorts.jump = true, true
	m.clusterIPs = m.newSet(setClusterIPs, addresses)
	m.hairpin = m.newSet(setHairpinConnections, addressPairs)
	for _, c := range staticChains(f, node, mark) {
		m.newChain(c)
	}
	// A rule that joins a full map walks all of it, so the usual ones come first.
	for n := 1; n <= preallocatedSize; n++ {
		m.ensureLBChain(lbChain{matchAddress, 1, n})
		m.ensureLBChain(lbChain{matchNodePort, 1, n})
	}
	return m
}

func (m *tableState) newSet(name string, kind setKind) *set {
	s := &set{name: name, kind: kind, index: len(m.sets)}
	if n := len(m.vacant); n > 0 {
		s.index, m.vacant = m.vacant[n-1], m.vacant[:n-1]
		m.sets[s.index] = s
	} else {
		m.sets = append(m.sets, s)
	}
	m.newSets = append(m.newSets, s)
	m.out.newSet(s)
	return s
}

func (m *tableState) dropSet(s *set) {
	m.elementCount -= s.count
	m.out.dropSet(s)
	m.sets[s.index] = nil
	m.vacant = append(m.vacant, s.index)
}

func (m *tableState) newChain(c chainSpec) {
	m.chainCount++
	m.out.newChain(c)
}

func (m *tableState) dropChain(name string) {
	m.chainCount--
	m.out.dropChain(name)
}

// ensureLBChain makes sure that the balancer and its shard exist.
func (m *tableState) ensureLBChain(b lbChain) {
	if m.lbChains[b] {
		return
	}
	m.lbChains[b] = true
	m.ensureEndpointMap(b.endpointMap())
	m.newChain(chainSpec{name: b.name(), rules: b.rules(m.family)})
}

func (m *tableState) ensureEndpointMap(s endpointMap) *set {
	if m.endpointMaps[s] == nil {
		m.endpointMaps[s] = m.newSet(s.name(), s.kind())
	}
	return m.endpointMaps[s]
}

// minSize is the least size of a set.
const minSize = 1024

// sizeSets ends a script: it decides the sizes of new sets, and tells whether all
// others still hold what they are given.
func (m *tableState) sizeSets() (fits bool) {
	for _, s := range m.newSets {
		if s.size == 0 {
			s.size = max(minSize, 1<<bits.Len(uint(2*s.count)))
		}
	}
	full := slices.ContainsFunc(m.overfull, func(s *set) bool { return s.count > s.size })
	m.newSets, m.overfull = m.newSets[:0], m.overfull[:0]
	return !full
}

// A serviceChange is what is now wanted of one Service.
type serviceChange struct {
	name localsink.ServiceName
	desired *localsink.Service // nil: nothing
	// What follows belongs to the mirror.
	frontends []desiredFrontend
}

// A removal is the removal of an element that must wait.
type removal struct {
	set *set
	element   element
}

// apply follows the wanted state of some Services, each listed once. get finds
// the wanted state of others. carryOver and finish complete the script; when it has
// been committed, trim must follow.
func (m *tableState) apply(changes []serviceChange, get func(localsink.ServiceName) *localsink.Service) {
	changes = m.withConflicts(changes, get)
	for i := range changes {
		c := &changes[i]
		c.frontends = m.desiredFrontends(c)
		m.release(c)
	}
	for i := range changes {
		m.claim(&changes[i])
	}
	for _, f := range m.released {
		m.replace(&f, nil)
	}
	clear(m.released)
	m.removeUnreferenced()
}

// cleanUp removes the slots that are no longer in use, and the chains and sets of ports
// that have no affinity any more, which takes a script of its own. Each lookup of a
// packet sees the rules as they are at that moment: one that has been sent to a balancer
// must still find the slot that it draws, though the verdict may have changed meanwhile.
// A packet whose processor was taken away for longer than both scripts take finds none;
// the chains that refuse give it another chance.
func (m *tableState) cleanUp() {
	for _, op := range m.later {
		m.out.remove(op.set, op.element)
	}
	m.later = m.later[:0]
	for _, name := range m.doomedChains {
		m.dropChain(name)
	}
	for _, s := range m.doomedSets {
		m.dropSet(s)
	}
	m.doomedChains, m.doomedSets = m.doomedChains[:0], m.doomedSets[:0]
}

// load adds a Service that the mirror does not hold yet.
func (m *tableState) load(s *localsink.Service) {
	c := serviceChange{name: s.Name, desired: s}
	c.frontends = m.desiredFrontends(&c)
	m.claim(&c)
}

// withConflicts adds the Services that lost a key to another: what changes may
// set it free.
func (m *tableState) withConflicts(changes []serviceChange, get func(localsink.ServiceName) *localsink.Service) []serviceChange {
	if len(m.conflicts) == 0 {
		return changes
	}
	listed := map[localsink.ServiceName]bool{}
	for _, c := range changes {
		listed[c.name] = true
	}
	changes = slices.Clip(changes)
	for _, name := range sortedNames(m.conflicts) {
		if !listed[name] {
			changes = append(changes, serviceChange{name: name, desired: get(name)})
		}
	}
	return changes
}

// release gives up the keys that a Service no longer wants, for others to take over.
func (m *tableState) release(c *serviceChange) {
	r := m.records[c.name]
	if r == nil {
		return
	}
	r.frontends = slices.DeleteFunc(r.frontends, func(f programmedFrontend) bool {
		if indexOfDesired(c.frontends, f.key, 0) >= 0 {
			return false
		}
		m.released[f.key] = f
		delete(m.owners, f.key)
		return true
	})
	if len(r.frontends) == 0 {
		delete(m.records, c.name)
	}
}

// claim brings the keys of a Service into the state that it wants.
func (m *tableState) claim(c *serviceChange) {
	delete(m.conflicts, c.name)
	if len(c.frontends) == 0 {
		return
	}
	r := m.records[c.name]
	if r == nil {
		r = &serviceRecord{name: c.name}
		m.records[c.name] = r
	}
	fronts := make([]programmedFrontend, 0, len(c.frontends))
	for i := range c.frontends {
		cand := &c.frontends[i]
		owner := m.owners[cand.key]
		if owner != nil && owner != r || indexOfFrontend(fronts, cand.key, 0) >= 0 {
			m.reportConflict(c, cand.key, owner)
			continue
		}
		old := (*programmedFrontend)(nil)
		if at := indexOfFrontend(r.frontends, cand.key, i); at >= 0 {
			old = &r.frontends[at]
		} else if f, ok := m.released[cand.key]; ok {
			old = &f
			delete(m.released, cand.key)
		}
		f := m.newFrontend(cand, old, c.frontends[:i], fronts)
		m.replace(old, &f)
		m.owners[f.key] = r
		fronts = append(fronts, f)
	}
	r.frontends = fronts
	if len(fronts) == 0 {
		delete(m.records, c.name)
	}
}

// reportConflict notes that a Service wants a key that another has.
func (m *tableState) reportConflict(c *serviceChange, k frontendKey, owner *serviceRecord) {
	holder := c.name
	if owner != nil {
		holder = owner.name
	}
	m.conflicts[c.name] = true
	m.addProblem(c.name, "frontends", fmt.Sprintf("%v belongs to Service %v already and is not served for this one", k, holder))
}

// newFrontend returns the front that a candidate becomes: with endpoints in the slots
// that they have now, shared with earlier fronts of the same port.
func (m *tableState) newFrontend(cand *desiredFrontend, old *programmedFrontend, earlier []desiredFrontend, fronts []programmedFrontend) programmedFrontend {
	f := programmedFrontend{key: cand.key, clusterIP: cand.clusterIP}
	if cand.restricted {
		f.firewall = m.ensureFirewallChain(cand.sources)
	}
	for i, pool := range cand.pools {
		if pool < 0 {
			break
		}
		if id := cand.dispatch.affinityID; id != "" {
			m.updateAffinityPort(id, cand.portPools, cand.affinity)
			continue
		}
		if shared := findSharedSlots(cand, i, earlier, fronts); shared != nil {
			f.slots[i] = shared
			continue
		}
		var held []localsink.Endpoint
		if old != nil {
			held = old.slots[i]
		}
		f.slots[i] = assignSlots(held, cand.portPools[pool].Endpoints)
	}
	f.chain = m.ensureDispatchChain(cand.dispatch)
	return f
}

// findSharedSlots finds the slots that an earlier front gave to the same pool at the
// same position.
func findSharedSlots(cand *desiredFrontend, position int, earlier []desiredFrontend, fronts []programmedFrontend) []localsink.Endpoint {
	for i := len(earlier) - 1; i >= 0 && earlier[i].port == cand.port; i-- {
		if earlier[i].pools[position] == cand.pools[position] {
			if at := indexOfFrontend(fronts, earlier[i].key, i); at >= 0 {
				return fronts[at].slots[position]
			}
		}
	}
	return nil
}

// ensureDispatchChain returns the chain of a plan, made if need be.
func (m *tableState) ensureDispatchChain(p dispatch) *chain {
	if c := m.dispatchChains[p]; c != nil {
		return c
	}
	for b := range p.lbChains {
		m.ensureLBChain(b)
	}
	_, fixed := p.directTarget()
	c := &chain{name: p.name(), permanent: fixed, dispatch: &p}
	if !fixed {
		m.unused[c] = true
		m.newChain(chainSpec{name: c.name, rules: p.rules(m.family, m.node, m.mark)})
	}
	if p.affinityID != "" {
		m.affinityPorts[p.affinityID].refs++
	}
	m.dispatchChains[p] = c
	return c
}

func (m *tableState) ensureFirewallChain(l sourceRanges) *chain {
	if c := m.firewallChains[l.name]; c != nil {
		return c
	}
	c := &chain{name: l.name}
	m.unused[c] = true
	m.firewallChains[l.name] = c
	m.newChain(chainSpec{name: l.name, rules: l.rules(m.family)})
	return c
}

// replace writes what turns one front into another of the same key. Either may be
// nil: there is none.
func (m *tableState) replace(old, want *programmedFrontend) {
	var before, after programmedFrontend
	if old != nil {
		before = *old
	}
	if want != nil {
		after = *want
	} else {
		after.key = before.key
	}
	verdicts, sources := m.serviceIPs, m.firewallIPs
	if after.key.matchKind() == matchNodePort {
		verdicts, sources = m.nodePorts, m.firewallNodePorts
	}
	for i := range maxPools {
		m.replaceSlots(after.key, uint8(i+1), before.slots[i], after.slots[i])
	}
	m.replaceChain(sources, after.key, before.firewall, after.firewall)
	m.replaceChain(verdicts, after.key, before.chain, after.chain)
	if before.clusterIP != after.clusterIP {
		e := element{key: after.key}
		m.countReference(m.clusterIPs, m.clusterIPRefs, e, after.clusterIP)
	}
}

func (m *tableState) replaceChain(s *set, k frontendKey, old, want *chain) {
	if old == want {
		return
	}
	if old != nil {
		m.remove(s, element{key: k})
		m.unrefer(old)
	}
	if want != nil {
		m.add(s, element{key: k, chain: want.name})
		want.refs++
		delete(m.unused, want)
	}
}

func (m *tableState) unrefer(c *chain) {
	if c.refs--; c.refs > 0 || c.permanent {
		return
	}
	m.unused[c] = true
	if c.hasAffinity() {
		m.unreferenced = append(m.unreferenced, c)
	}
}

// replaceSlots touches only the slots that differ, unless the new ones belong in
// another shard.
func (m *tableState) replaceSlots(k frontendKey, position uint8, old, want []localsink.Endpoint) {
	if len(old) == len(want) && (len(old) == 0 || &old[0] == &want[0]) {
		return
	}
	from, to := m.endpointMapOf(k, position, old), m.endpointMapOf(k, position, want)
	for i := range max(len(old), len(want)) {
		if from == to && i < len(old) && i < len(want) && old[i] == want[i] {
			continue
		}
		if i < len(old) {
			m.removeSlot(from, k, i, old[i], from == to && i < len(want))
		}
		if i < len(want) {
			m.addSlot(to, k, i, want[i])
		}
	}
}

func (m *tableState) endpointMapOf(k frontendKey, position uint8, slots []localsink.Endpoint) *set {
	if len(slots) == 0 {
		return nil
	}
	return m.ensureEndpointMap(endpointMap{k.matchKind(), position, endpointMapLimit(len(slots))})
}

// A slot that leads to an endpoint of this node keeps its address in the set of
// addresses whose connections to themselves are masqueraded.
func (m *tableState) addSlot(s *set, k frontendKey, slot int, e localsink.Endpoint) {
	m.add(s, element{key: k, slot: uint32(slot), value: e.Addr})
	if e.Local {
		m.countReference(m.hairpin, m.hairpinRefs, element{key: frontendKey{addr: e.Addr}}, true)
	}
}

// removeSlot removes a slot, at once only when it is filled again at once.
func (m *tableState) removeSlot(s *set, k frontendKey, slot int, e localsink.Endpoint, now bool) {
	op := removal{s, element{key: k, slot: uint32(slot), value: e.Addr}}
	if now {
		m.remove(s, op.element)
	} else {
		m.count(s, -1)
		m.later = append(m.later, op)
	}
	if e.Local {
		m.countReference(m.hairpin, m.hairpinRefs, element{key: frontendKey{addr: e.Addr}}, false)
	}
}

// countReference counts who needs the element's address in s, which has it while somebody
// does.
func (m *tableState) countReference(s *set, refs map[netip.Addr]int, e element, more bool) {
	addr := e.key.addr.Addr()
	e.key = frontendKey{addr: netip.AddrPortFrom(addr, 0)}
	if more {
		if refs[addr]++; refs[addr] == 1 {
			m.add(s, e)
		}
		return
	}
	if refs[addr]--; refs[addr] == 0 {
		delete(refs, addr)
		m.remove(s, e)
	}
}

func (m *tableState) add(s *set, e element) {
	m.count(s, 1)
	m.out.add(s, e)
}

func (m *tableState) remove(s *set, e element) {
	m.count(s, -1)
	m.out.remove(s, e)
}

func (m *tableState) count(s *set, more int) {
	s.count += more
	m.elementCount += more
	if more > 0 && s.count > s.size && s.size > 0 {
		m.overfull = append(m.overfull, s)
	}
}

// deleteUnusedChains forgets the chains that nobody refers to. Kernels before 6.2 refuse to
// delete a chain in the transaction that ends the last reference to it, so this
// takes a script of its own.
func (m *tableState) deleteUnusedChains() {
	for c := range m.unused {
		if c.dispatch != nil {
			delete(m.dispatchChains, *c.dispatch)
		} else {
			delete(m.firewallChains, c.name)
		}
		m.dropChain(c.name)
	}
	clear(m.unused)
}

// indexOfFrontend finds the front of a key, likely at guess.
func indexOfFrontend(fronts []programmedFrontend, k frontendKey, guess int) int {
	if guess < len(fronts) && fronts[guess].key == k {
		return guess
	}
	return slices.IndexFunc(fronts, func(f programmedFrontend) bool { return f.key == k })
}
