// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A affinityPort is a port with session affinity, as the kernel holds it: the pins of its
// clients, and for each of its pools a chain with a list of endpoints. A pin is the
// slot of the endpoint that a client address keeps; slots count the endpoints of all
// pools, so that there is one memory for the whole port.
//
// An endpoint keeps its slot while the pins live. When an endpoint leaves, pins and
// lists are all replaced by new ones, in the transaction that makes the chains use
// them: a packet sees either the old ones or the new, and what it writes into the old
// ones is gone.
type affinityPort struct {
	id        string
	refs      int // plans that lead here
	timeout   time.Duration
	desired    []localsink.Pool
	endpoints []localsink.Endpoint // by slot
	suffix      int                  // which of their two names pins and lists have
	entries      *set                 // client : slot
	pools     map[int]*affinityPool  // those that are not empty, counting from one
}

// A affinityPool is one pool of a sticky.
type affinityPool struct {
	chain string
	slots []uint32 // of its endpoints
	endpoints  *set     // slot : endpoint, so that other slots are not found
	// index lead from 0, 1, 2... to slots; nil when they are the same.
	index *set
}

// Limits of what is kept for a port with affinity.
const (
	// maxAffinityEntries is how many client addresses are remembered; more are served
	// without. The kernel uses memory only for those that there are.
	maxAffinityEntries = 65536
	// minPoolMapSize is the least room in a list.
	minPoolMapSize = 32
	// minAffinity is the shortest time that every kernel can tell from none.
	minAffinity = 100 * time.Millisecond
	// minRemaining is the shortest rest of a pin's time that is worth a copy.
	minRemaining = 20 * time.Millisecond
	// maxServiceNamePart is how much of a Service's name is part of other names.
	maxServiceNamePart = 40
)

// newAffinityID names a port the same way after every restart. twin counts earlier ports
// of that name and protocol, which a sound Service does not have.
func newAffinityID(name localsink.ServiceName, p *localsink.Port, twin int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d %d", name.Namespace, name.Name, p.Name, p.Protocol, twin)
	text := strings.Map(func(r rune) rune {
		if isIdentifier("x" + string(r)) {
			return r
		}
		return '_'
	}, name.Name)
	return text[:min(len(text), maxServiceNamePart)] + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// affinityIDOf returns the name of a port with affinity, and an empty one for others.
func affinityIDOf(s *localsink.Service, port int) string {
	p := &s.Ports[port]
	if p.Affinity <= 0 {
		return ""
	}
	twins := 0
	for i := range s.Ports[:port] {
		if o := &s.Ports[i]; o.Affinity > 0 && o.Name == p.Name && o.Protocol == p.Protocol {
			twins++
		}
	}
	return newAffinityID(s.Name, p, twins)
}

// Names of what is kept for a port, and for its pools, which count from one.
func affinityChainName(id string, pool int) string { return "sticky-" + poolRef(id, pool) }
func poolRef(id string, pool int) string   { return id + "-" + strconv.Itoa(pool) }
func mapSuffix(i int) string                      { return [...]string{"-a", "-b"}[i] }
func entriesMapName(id string, i int) string       { return "pins-" + id + mapSuffix(i) }
func poolEndpointsMapName(id string, pool, i int) string { return "endpoints-" + poolRef(id, pool) + mapSuffix(i) }
func poolIndexMapName(id string, pool, i int) string {
	return "draws-" + poolRef(id, pool) + mapSuffix(i)
}
func affinityTimeout(d time.Duration) time.Duration { return max(d, minAffinity).Round(time.Millisecond) }

// rules returns the rules of a pool's chain:
//
//  1. make a pin where there is none, and give a new life to the one that is there
//  2. follow the pin
//  3. replace a pin that leads to an endpoint of another pool
//  4. serve clients beyond maxPins
//
// Where one lookup follows another, the packet's mark takes the slot for a moment and
// is put back at once: nft 1.0.6 cannot list a lookup whose key was looked up, but one
// whose key was a mark.
func (s *affinityPort) rules(f *family, p *affinityPool) []rule {
	port := f.addrLen / 4
	spare, client := word(port+1), word(port+2)
	viaMark := func(r rule) rule {
		return append(rule{loadMeta(nfnl.MetaMark, spare)}, r.then(setMark(word(0)), loadMeta(nfnl.MetaMark, word(0)), setMark(spare))...)
	}
	draw := rule{randomBelow(len(p.slots), word(0))}
	if p.index != nil {
		draw = viaMark(draw.then(mapTo(p.index.name)))
	}
	target := []expr{mapTo(p.endpoints.name), dnat(f, word(0), word(port))}
	pin := updateEntry(s.entries.name, client, word(0))
	rules := []rule{
		draw.then(loadSaddr(f, client), pin),
		viaMark(rule{loadSaddr(f, word(0)), mapTo(s.entries.name)}).then(target...),
	}
	if len(s.pools) > 1 {
		rules = append(rules, draw.then(loadSaddr(f, client), deleteEntry(s.entries.name, client, word(0)), pin).then(target...))
	}
	return append(rules, draw.then(target...))
}

// updateAffinityPort brings what is kept for a port into line; timeout is the port's affinity.
func (m *tableState) updateAffinityPort(id string, pools []localsink.Pool, timeout time.Duration) {
	timeout = affinityTimeout(timeout)
	s := m.affinityPorts[id]
	if s != nil && s.timeout == timeout && slices.EqualFunc(s.desired, pools, func(a, b localsink.Pool) bool { return slices.Equal(a.Endpoints, b.Endpoints) }) {
		return
	}
	if s == nil {
		s = &affinityPort{id: id, pools: map[int]*affinityPool{}}
		m.affinityPorts[id] = s
	}
	slots, left := affinitySlots(s.endpoints, pools)
	for _, e := range slots {
		m.countHairpin(e, true)
	}
	for _, e := range s.endpoints {
		m.countHairpin(e, false)
	}
	s.desired, s.endpoints = pools, slots
	if left || s.timeout != timeout || !s.canGrow() {
		m.replaceMaps(s, timeout)
	}
	m.fillMaps(s)
}

// affinitySlots puts those who stay in front, in the order that they have, and tells
// whether anybody left. Endpoints of small pools come early: where one pool is part
// of another, as is usual, both then have slots that begin with zero.
func affinitySlots(held []localsink.Endpoint, pools []localsink.Pool) (slots []localsink.Endpoint, left bool) {
	pools = slices.Clone(pools)
	slices.SortStableFunc(pools, func(a, b localsink.Pool) int { return len(a.Endpoints) - len(b.Endpoints) })
	wanted := map[netip.AddrPort]localsink.Endpoint{}
	for _, p := range pools {
		for _, e := range p.Endpoints {
			e.Local = e.Local || wanted[e.Addr].Local
			wanted[e.Addr] = e
		}
	}
	take := func(addr netip.AddrPort) {
		if e, ok := wanted[addr]; ok {
			slots = append(slots, e)
			delete(wanted, addr)
		}
	}
	for _, e := range held {
		take(e.Addr)
	}
	left = len(slots) < len(held)
	for _, p := range pools {
		for _, e := range p.Endpoints {
			take(e.Addr)
		}
	}
	return slots, left
}

// canGrow tells whether the lists only get more, and have room for that.
func (s *affinityPort) canGrow() bool {
	for number, p := range s.pools {
		if number > len(s.desired) || len(s.desired[number-1].Endpoints) > p.endpoints.size {
			return false
		}
		stay := map[netip.AddrPort]bool{}
		for _, e := range s.desired[number-1].Endpoints {
			stay[e.Addr] = true
		}
		for _, slot := range p.slots {
			if !stay[s.endpoints[slot].Addr] {
				return false
			}
		}
	}
	return true
}

// replaceMaps begins everything anew, except that pins are carried over.
func (m *tableState) replaceMaps(s *affinityPort, timeout time.Duration) {
	c := entryCopy{to: s, pools: len(s.desired), suffixes: []int{0, 1}} // from before a restart
	if s.entries != nil {
		c.suffixes = []int{s.suffix}
		s.suffix = 1 - s.suffix
		m.doomedSets = append(m.doomedSets, s.entries)
		s.endpoints, _ = affinitySlots(nil, s.desired)
	}
	for _, number := range slices.Sorted(maps.Keys(s.pools)) {
		p := s.pools[number]
		c.pools = max(c.pools, number)
		m.doomSets(p)
		p.slots, p.endpoints, p.index = nil, nil, nil
		if number > len(s.desired) || len(s.desired[number-1].Endpoints) == 0 {
			m.doomChain(p.chain)
			delete(s.pools, number)
		}
	}
	m.entryCopies = append(m.entryCopies, c)
	s.timeout = timeout
	s.entries = m.newSet(entriesMapName(s.id, s.suffix), affinityEntries)
	s.entries.size, s.entries.timeout = maxAffinityEntries, timeout
}

func (m *tableState) doomSets(p *affinityPool) {
	m.doomedSets = append(m.doomedSets, p.endpoints)
	if p.index != nil {
		m.doomedSets = append(m.doomedSets, p.index)
	}
}

func (m *tableState) doomChain(name string) {
	m.out.setRules(chainSpec{name: name})
	m.doomedChains = append(m.doomedChains, name)
}

// fillMaps adds what the lists do not have yet, and writes the rules.
func (m *tableState) fillMaps(s *affinityPort) {
	slotOf := map[netip.AddrPort]uint32{}
	for i, e := range s.endpoints {
		slotOf[e.Addr] = uint32(i)
	}
	fresh := map[int]bool{}
	for i, pool := range s.desired {
		number := i + 1
		if len(pool.Endpoints) > 0 && s.pools[number] == nil {
			s.pools[number], fresh[number] = &affinityPool{chain: affinityChainName(s.id, number)}, true
		}
	}
	for _, number := range slices.Sorted(maps.Keys(s.pools)) {
		p := s.pools[number]
		m.fillPool(s, p, number, slotOf)
		if spec := (chainSpec{name: p.chain, rules: s.rules(m.family, p)}); fresh[number] {
			m.newChain(spec)
		} else {
			m.out.setRules(spec)
		}
	}
}

func (m *tableState) fillPool(s *affinityPort, p *affinityPool, number int, slotOf map[netip.AddrPort]uint32) {
	endpoints := s.desired[number-1].Endpoints
	room := max(minPoolMapSize, 1<<bits.Len(uint(2*len(endpoints))))
	if p.endpoints == nil {
		p.endpoints = m.newSet(poolEndpointsMapName(s.id, number, s.suffix), endpointsBySlot)
		p.endpoints.size = room
	}
	listed := len(p.slots)
	has := make(map[uint32]bool, listed)
	for _, slot := range p.slots {
		has[slot] = true
	}
	var more []uint32
	for _, e := range endpoints {
		if slot := slotOf[e.Addr]; !has[slot] {
			more = append(more, slot)
		}
	}
	slices.Sort(more)
	p.slots = append(p.slots, more...)
	for _, slot := range more {
		m.add(p.endpoints, element{slot: slot, value: s.endpoints[slot].Addr})
	}
	same := true
	for i, slot := range p.slots {
		same = same && slot == uint32(i)
	}
	if p.index == nil && !same {
		p.index = m.newSet(poolIndexMapName(s.id, number, s.suffix), slotsByIndex)
		p.index.size, listed = p.endpoints.size, 0
	}
	if p.index != nil {
		for i, slot := range p.slots[listed:] {
			m.add(p.index, element{slot: uint32(listed + i), target: slot})
		}
	}
}

func (m *tableState) countHairpin(e localsink.Endpoint, more bool) {
	if e.Local {
		m.countReference(m.hairpin, m.hairpinRefs, element{key: frontendKey{addr: e.Addr}}, more)
	}
}

// releaseAffinityPort ends one plan's need of what is kept for a port.
func (m *tableState) releaseAffinityPort(id string) {
	s := m.affinityPorts[id]
	if s.refs--; s.refs > 0 {
		return
	}
	delete(m.affinityPorts, id)
	for _, e := range s.endpoints {
		m.countHairpin(e, false)
	}
	m.doomedSets = append(m.doomedSets, s.entries)
	for _, number := range slices.Sorted(maps.Keys(s.pools)) {
		m.doomSets(s.pools[number])
		m.doomChain(s.pools[number].chain)
	}
}

// removeUnreferenced forgets plans of ports with affinity that nobody refers to any more, and
// with them what is kept for their pools. Unlike plans that all can use, they would
// be of no use to others. Their rules go at once, which ends the references to
// chains and sets; these go in the next script.
func (m *tableState) removeUnreferenced() {
	for _, c := range m.unreferenced {
		if c.refs > 0 || m.dispatchChains[*c.dispatch] != c {
			continue
		}
		delete(m.dispatchChains, *c.dispatch)
		delete(m.unused, c)
		m.doomChain(c.name)
		m.releaseAffinityPort(c.dispatch.affinityID)
	}
	m.unreferenced = m.unreferenced[:0]
}

// A entryCopy is the task of filling new pins with what older ones hold.
type entryCopy struct {
	to     *affinityPort
	pools  int   // how many lists there may be, and
	suffixes []int // where the old ones are
}

// copyAffinityEntries does for the script under way what is left to do: it copies the pins that
// lead to endpoints which are still there, with the time that they have left. read
// returns the elements that a set has in the kernel, none when there is no such set.
//
// A pin that is made while its set is being read may be missed: that client draws
// anew. None is ever kept that leads to an endpoint that left.
func (m *tableState) copyAffinityEntries(read func(set string) []nfnl.Element) {
	for _, c := range m.entryCopies {
		slotOf := map[netip.AddrPort]uint32{}
		for i, e := range c.to.endpoints {
			slotOf[e.Addr] = uint32(i)
		}
		kept := map[netip.Addr]element{}
		for _, half := range c.suffixes {
			m.readAffinityEntries(c, half, read, slotOf, kept)
		}
		n := 0
		for _, e := range kept {
			if n++; n > maxAffinityEntries {
				break
			}
			m.out.add(c.to.entries, e) // not counted: they come and go with packets
		}
	}
	m.entryCopies = m.entryCopies[:0]
}

func (m *tableState) readAffinityEntries(c entryCopy, half int, read func(string) []nfnl.Element, slotOf map[netip.AddrPort]uint32, kept map[netip.Addr]element) {
	old := read(entriesMapName(c.to.id, half))
	if len(old) == 0 {
		return
	}
	endpoints := map[uint32]netip.AddrPort{}
	for i := range c.pools {
		for _, e := range read(poolEndpointsMapName(c.to.id, i+1, half)) {
			if len(e.Key) == 4 && len(e.Data) == m.family.addrLen+4 {
				addr, _ := netip.AddrFromSlice(e.Data[:m.family.addrLen])
				endpoints[binary.NativeEndian.Uint32(e.Key)] = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(e.Data[m.family.addrLen:]))
			}
		}
	}
	for _, e := range old {
		client, ok := netip.AddrFromSlice(e.Key)
		if !ok || len(e.Data) != 4 || e.Expires < minRemaining || e.Expires <= kept[client].expires {
			continue
		}
		if slot, stays := slotOf[endpoints[binary.NativeEndian.Uint32(e.Data)]]; stays {
			kept[client] = element{key: frontendKey{addr: netip.AddrPortFrom(client, 0)}, target: slot, expires: min(e.Expires, c.to.timeout)}
		}
	}
}
