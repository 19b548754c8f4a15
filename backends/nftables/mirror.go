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
	key   key
	slot  uint32
	value netip.AddrPort // where the slot leads
	to    uint32         // the slot that a pin or a draw leads to
	left  time.Duration  // until a pin ends
	chain string         // where the verdict leads
}

// A script receives what must be done to the kernel's tables to follow a mirror.
// Nothing takes effect before the whole script is committed; removals come before
// additions, and new sets and chains before both.
type script interface {
	newSet(*set)
	newChain(chainSpec)
	setRules(chainSpec) // in place of those that the chain has
	dropChain(name string)
	dropSet(*set) // after chains
	remove(*set, element)
	add(*set, element)
}

// A key is what clients dial. A node port has the unspecified address.
type key struct {
	addr  netip.AddrPort
	proto localsink.Protocol
}

func (k key) role() role {
	if k.addr.Addr().IsUnspecified() {
		return byNodePort
	}
	return byAddress
}

func (k key) String() string { return fmt.Sprintf("%v/%v", k.addr, k.proto) }

// A chain is a chain that comes and goes with those who refer to it.
type chain struct {
	name  string
	refs  int
	fixed bool  // part of the skeleton, or a balancer
	plan  *plan // nil for sources
}

// own tells whether the chain is for one port alone.
func (c *chain) own() bool { return c.plan != nil && c.plan.sticky != "" }

// A front is one frontend as the kernel holds it.
type front struct {
	key       key
	clusterIP bool
	chain     *chain
	sources   *chain
	slots     [maxPositions][]localsink.Endpoint
}

// A record is one Service as the kernel holds it.
type record struct {
	name   localsink.ServiceName
	fronts []front
}

// A mirror is all that the kernel holds of one table, as far as it is needed to
// compute the next difference. It is told what is wanted and writes to a script
// what that takes. A mirror whose script was not committed is of no more use.
type mirror struct {
	family *family
	node   *nodeView
	mark   uint32
	out    script

	// The objects of the table.
	sets                     []*set
	services, nodePorts      *set
	sources, nodePortSources *set
	clusterIPs, hairpin      *set
	shards                   map[shard]*set
	balancers                map[balancer]bool
	plans                    map[plan]*chain
	stickies                 map[string]*sticky
	sourceChains             map[string]*chain
	chains                   int             // how many there are of all kinds
	unused                   map[*chain]bool // those of plans and sourceChains that nobody refers to
	total                    int             // elements in all sets, without those that packets add

	// What is in them, and for whom.
	records       map[localsink.ServiceName]*record
	owners        map[key]*record
	clusterIPRefs map[netip.Addr]int
	hairpinRefs   map[netip.Addr]int

	// What is not in them.
	problems  map[localsink.ServiceName][]localsink.Problem
	contested map[localsink.ServiceName]bool // those that lost a key to another

	// The script under way.
	created  []*set
	crowded  []*set        // that hold more than they may, or did for a moment
	released map[key]front // given up by one Service, perhaps for another
	idle     []*chain      // of one port alone, that lost a reference
	carries  []carry

	// For the script after this one.
	later        []laterOp
	doomedChains []string
	doomedSets   []*set
	vacant       []int // indexes of sets that are gone
}

// newMirror returns the mirror of a table that holds only what every table does,
// and writes that to out.
func newMirror(f *family, node *nodeView, mark uint32, out script) *mirror {
	m := &mirror{
		family: f, node: node, mark: mark, out: out,
		shards:        map[shard]*set{},
		plans:         map[plan]*chain{},
		stickies:      map[string]*sticky{},
		sourceChains:  map[string]*chain{},
		unused:        map[*chain]bool{},
		balancers:     map[balancer]bool{},
		records:       map[localsink.ServiceName]*record{},
		owners:        map[key]*record{},
		clusterIPRefs: map[netip.Addr]int{},
		hairpinRefs:   map[netip.Addr]int{},
		problems:      map[localsink.ServiceName][]localsink.Problem{},
		contested:     map[localsink.ServiceName]bool{},
		released:      map[key]front{},
	}
	m.services = m.newSet(mapServices, verdictsByAddress)
	m.nodePorts = m.newSet(mapNodePorts, verdictsByNodePort)
	m.sources = m.newSet(mapSources, verdictsByAddress)
	m.nodePortSources = m.newSet(mapNodePortSources, verdictsByNodePort)
	m.sources.jump, m.nodePortSources.jump = true, true
	m.clusterIPs = m.newSet(setClusterIPs, addresses)
	m.hairpin = m.newSet(setHairpin, addressPairs)
	for _, c := range skeleton(f, node, mark) {
		m.newChain(c)
	}
	// A rule that joins a full map walks all of it, so the usual ones come first.
	for n := 1; n <= readyLimit; n++ {
		m.balancer(balancer{byAddress, 1, n})
		m.balancer(balancer{byNodePort, 1, n})
	}
	return m
}

func (m *mirror) newSet(name string, kind setKind) *set {
	s := &set{name: name, kind: kind, index: len(m.sets)}
	if n := len(m.vacant); n > 0 {
		s.index, m.vacant = m.vacant[n-1], m.vacant[:n-1]
		m.sets[s.index] = s
	} else {
		m.sets = append(m.sets, s)
	}
	m.created = append(m.created, s)
	m.out.newSet(s)
	return s
}

func (m *mirror) dropSet(s *set) {
	m.total -= s.count
	m.out.dropSet(s)
	m.sets[s.index] = nil
	m.vacant = append(m.vacant, s.index)
}

func (m *mirror) newChain(c chainSpec) {
	m.chains++
	m.out.newChain(c)
}

func (m *mirror) dropChain(name string) {
	m.chains--
	m.out.dropChain(name)
}

// balancer makes sure that the balancer and its shard exist.
func (m *mirror) balancer(b balancer) {
	if m.balancers[b] {
		return
	}
	m.balancers[b] = true
	m.shard(b.shard())
	m.newChain(chainSpec{name: b.name(), rules: b.rules(m.family)})
}

func (m *mirror) shard(s shard) *set {
	if m.shards[s] == nil {
		m.shards[s] = m.newSet(s.name(), s.kind())
	}
	return m.shards[s]
}

// minSize is the least size of a set.
const minSize = 1024

// finish ends a script: it decides the sizes of new sets, and tells whether all
// others still hold what they are given.
func (m *mirror) finish() (fits bool) {
	for _, s := range m.created {
		if s.size == 0 {
			s.size = max(minSize, 1<<bits.Len(uint(2*s.count)))
		}
	}
	full := slices.ContainsFunc(m.crowded, func(s *set) bool { return s.count > s.size })
	m.created, m.crowded = m.created[:0], m.crowded[:0]
	return !full
}

// A change is what is now wanted of one Service.
type change struct {
	name localsink.ServiceName
	want *localsink.Service // nil: nothing
	// What follows belongs to the mirror.
	candidates []candidate
}

// A laterOp is the removal of an element that must wait.
type laterOp struct {
	set *set
	e   element
}

// change follows the wanted state of some Services, each listed once. get finds
// the wanted state of others. carryOver and finish complete the script; when it has
// been committed, trim must follow.
func (m *mirror) change(changes []change, get func(localsink.ServiceName) *localsink.Service) {
	changes = m.withContested(changes, get)
	for i := range changes {
		c := &changes[i]
		c.candidates = m.candidates(c)
		m.release(c)
	}
	for i := range changes {
		m.claim(&changes[i])
	}
	for _, f := range m.released {
		m.replace(&f, nil)
	}
	clear(m.released)
	m.sweep()
}

// trim removes the slots that are no longer in use, and the chains and sets of ports
// that have no affinity any more, which takes a script of its own. Each lookup of a
// packet sees the rules as they are at that moment: one that has been sent to a balancer
// must still find the slot that it draws, though the verdict may have changed meanwhile.
// A packet whose processor was taken away for longer than both scripts take finds none;
// the chains that refuse give it another chance.
func (m *mirror) trim() {
	for _, op := range m.later {
		m.out.remove(op.set, op.e)
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
func (m *mirror) load(s *localsink.Service) {
	c := change{name: s.Name, want: s}
	c.candidates = m.candidates(&c)
	m.claim(&c)
}

// withContested adds the Services that lost a key to another: what changes may
// set it free.
func (m *mirror) withContested(changes []change, get func(localsink.ServiceName) *localsink.Service) []change {
	if len(m.contested) == 0 {
		return changes
	}
	listed := map[localsink.ServiceName]bool{}
	for _, c := range changes {
		listed[c.name] = true
	}
	changes = slices.Clip(changes)
	for _, name := range sortedNames(m.contested) {
		if !listed[name] {
			changes = append(changes, change{name: name, want: get(name)})
		}
	}
	return changes
}

// release gives up the keys that a Service no longer wants, for others to take over.
func (m *mirror) release(c *change) {
	r := m.records[c.name]
	if r == nil {
		return
	}
	r.fronts = slices.DeleteFunc(r.fronts, func(f front) bool {
		if findCandidate(c.candidates, f.key, 0) >= 0 {
			return false
		}
		m.released[f.key] = f
		delete(m.owners, f.key)
		return true
	})
	if len(r.fronts) == 0 {
		delete(m.records, c.name)
	}
}

// claim brings the keys of a Service into the state that it wants.
func (m *mirror) claim(c *change) {
	delete(m.contested, c.name)
	if len(c.candidates) == 0 {
		return
	}
	r := m.records[c.name]
	if r == nil {
		r = &record{name: c.name}
		m.records[c.name] = r
	}
	fronts := make([]front, 0, len(c.candidates))
	for i := range c.candidates {
		cand := &c.candidates[i]
		owner := m.owners[cand.key]
		if owner != nil && owner != r || findFront(fronts, cand.key, 0) >= 0 {
			m.lose(c, cand.key, owner)
			continue
		}
		old := (*front)(nil)
		if at := findFront(r.fronts, cand.key, i); at >= 0 {
			old = &r.fronts[at]
		} else if f, ok := m.released[cand.key]; ok {
			old = &f
			delete(m.released, cand.key)
		}
		f := m.frontOf(cand, old, c.candidates[:i], fronts)
		m.replace(old, &f)
		m.owners[f.key] = r
		fronts = append(fronts, f)
	}
	r.fronts = fronts
	if len(fronts) == 0 {
		delete(m.records, c.name)
	}
}

// lose notes that a Service wants a key that another has.
func (m *mirror) lose(c *change, k key, owner *record) {
	holder := c.name
	if owner != nil {
		holder = owner.name
	}
	m.contested[c.name] = true
	m.problem(c.name, "frontends", fmt.Sprintf("%v belongs to Service %v already and is not served for this one", k, holder))
}

// frontOf returns the front that a candidate becomes: with endpoints in the slots
// that they have now, shared with earlier fronts of the same port.
func (m *mirror) frontOf(cand *candidate, old *front, earlier []candidate, fronts []front) front {
	f := front{key: cand.key, clusterIP: cand.clusterIP}
	if cand.restricted {
		f.sources = m.sourceChain(cand.sources)
	}
	for i, pool := range cand.used {
		if pool < 0 {
			break
		}
		if id := cand.plan.sticky; id != "" {
			m.stick(id, cand.pools, cand.affinity)
			continue
		}
		if shared := sharedSlots(cand, i, earlier, fronts); shared != nil {
			f.slots[i] = shared
			continue
		}
		var held []localsink.Endpoint
		if old != nil {
			held = old.slots[i]
		}
		f.slots[i] = assign(held, cand.pools[pool].Endpoints)
	}
	f.chain = m.chainOf(cand.plan)
	return f
}

// sharedSlots finds the slots that an earlier front gave to the same pool at the
// same position.
func sharedSlots(cand *candidate, position int, earlier []candidate, fronts []front) []localsink.Endpoint {
	for i := len(earlier) - 1; i >= 0 && earlier[i].port == cand.port; i-- {
		if earlier[i].used[position] == cand.used[position] {
			if at := findFront(fronts, earlier[i].key, i); at >= 0 {
				return fronts[at].slots[position]
			}
		}
	}
	return nil
}

// chainOf returns the chain of a plan, made if need be.
func (m *mirror) chainOf(p plan) *chain {
	if c := m.plans[p]; c != nil {
		return c
	}
	for b := range p.balancers {
		m.balancer(b)
	}
	_, fixed := p.direct()
	c := &chain{name: p.name(), fixed: fixed, plan: &p}
	if !fixed {
		m.unused[c] = true
		m.newChain(chainSpec{name: c.name, rules: p.rules(m.family, m.node, m.mark)})
	}
	if p.sticky != "" {
		m.stickies[p.sticky].refs++
	}
	m.plans[p] = c
	return c
}

func (m *mirror) sourceChain(l sourceList) *chain {
	if c := m.sourceChains[l.name]; c != nil {
		return c
	}
	c := &chain{name: l.name}
	m.unused[c] = true
	m.sourceChains[l.name] = c
	m.newChain(chainSpec{name: l.name, rules: l.rules(m.family)})
	return c
}

// replace writes what turns one front into another of the same key. Either may be
// nil: there is none.
func (m *mirror) replace(old, want *front) {
	var before, after front
	if old != nil {
		before = *old
	}
	if want != nil {
		after = *want
	} else {
		after.key = before.key
	}
	verdicts, sources := m.services, m.sources
	if after.key.role() == byNodePort {
		verdicts, sources = m.nodePorts, m.nodePortSources
	}
	for i := range maxPositions {
		m.replaceSlots(after.key, uint8(i+1), before.slots[i], after.slots[i])
	}
	m.replaceChain(sources, after.key, before.sources, after.sources)
	m.replaceChain(verdicts, after.key, before.chain, after.chain)
	if before.clusterIP != after.clusterIP {
		e := element{key: after.key}
		m.refer(m.clusterIPs, m.clusterIPRefs, e, after.clusterIP)
	}
}

func (m *mirror) replaceChain(s *set, k key, old, want *chain) {
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

func (m *mirror) unrefer(c *chain) {
	if c.refs--; c.refs > 0 || c.fixed {
		return
	}
	m.unused[c] = true
	if c.own() {
		m.idle = append(m.idle, c)
	}
}

// replaceSlots touches only the slots that differ, unless the new ones belong in
// another shard.
func (m *mirror) replaceSlots(k key, position uint8, old, want []localsink.Endpoint) {
	if len(old) == len(want) && (len(old) == 0 || &old[0] == &want[0]) {
		return
	}
	from, to := m.shardOf(k, position, old), m.shardOf(k, position, want)
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

func (m *mirror) shardOf(k key, position uint8, slots []localsink.Endpoint) *set {
	if len(slots) == 0 {
		return nil
	}
	return m.shard(shard{k.role(), position, shardLimit(len(slots))})
}

// A slot that leads to an endpoint of this node keeps its address in the set of
// addresses whose connections to themselves are masqueraded.
func (m *mirror) addSlot(s *set, k key, slot int, e localsink.Endpoint) {
	m.add(s, element{key: k, slot: uint32(slot), value: e.Addr})
	if e.Local {
		m.refer(m.hairpin, m.hairpinRefs, element{key: key{addr: e.Addr}}, true)
	}
}

// removeSlot removes a slot, at once only when it is filled again at once.
func (m *mirror) removeSlot(s *set, k key, slot int, e localsink.Endpoint, now bool) {
	op := laterOp{s, element{key: k, slot: uint32(slot), value: e.Addr}}
	if now {
		m.remove(s, op.e)
	} else {
		m.count(s, -1)
		m.later = append(m.later, op)
	}
	if e.Local {
		m.refer(m.hairpin, m.hairpinRefs, element{key: key{addr: e.Addr}}, false)
	}
}

// refer counts who needs the element's address in s, which has it while somebody
// does.
func (m *mirror) refer(s *set, refs map[netip.Addr]int, e element, more bool) {
	addr := e.key.addr.Addr()
	e.key = key{addr: netip.AddrPortFrom(addr, 0)}
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

func (m *mirror) add(s *set, e element) {
	m.count(s, 1)
	m.out.add(s, e)
}

func (m *mirror) remove(s *set, e element) {
	m.count(s, -1)
	m.out.remove(s, e)
}

func (m *mirror) count(s *set, more int) {
	s.count += more
	m.total += more
	if more > 0 && s.count > s.size && s.size > 0 {
		m.crowded = append(m.crowded, s)
	}
}

// collect forgets the chains that nobody refers to. Kernels before 6.2 refuse to
// delete a chain in the transaction that ends the last reference to it, so this
// takes a script of its own.
func (m *mirror) collect() {
	for c := range m.unused {
		if c.plan != nil {
			delete(m.plans, *c.plan)
		} else {
			delete(m.sourceChains, c.name)
		}
		m.dropChain(c.name)
	}
	clear(m.unused)
}

// findFront finds the front of a key, likely at guess.
func findFront(fronts []front, k key, guess int) int {
	if guess < len(fronts) && fronts[guess].key == k {
		return guess
	}
	return slices.IndexFunc(fronts, func(f front) bool { return f.key == k })
}
