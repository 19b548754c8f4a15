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

// A sticky is a port with session affinity, as the kernel holds it: the pins of its
// clients, and for each of its pools a chain with a list of endpoints. A pin is the
// slot of the endpoint that a client address keeps; slots count the endpoints of all
// pools, so that there is one memory for the whole port.
//
// An endpoint keeps its slot while the pins live. When an endpoint leaves, pins and
// lists are all replaced by new ones, in the transaction that makes the chains use
// them: a packet sees either the old ones or the new, and what it writes into the old
// ones is gone.
type sticky struct {
	id        string
	refs      int // plans that lead here
	timeout   time.Duration
	source    []localsink.Pool
	endpoints []localsink.Endpoint // by slot
	half      int                  // which of their two names pins and lists have
	pins      *set                 // client : slot
	pools     map[int]*stickyPool  // those that are not empty, counting from one
}

// A stickyPool is one pool of a sticky.
type stickyPool struct {
	chain string
	slots []uint32 // of its endpoints
	list  *set     // slot : endpoint, so that other slots are not found
	// draws lead from 0, 1, 2... to slots; nil when they are the same.
	draws *set
}

// Limits of what is kept for a port with affinity.
const (
	// maxPins is how many client addresses are remembered; more are served
	// without. The kernel uses memory only for those that there are.
	maxPins = 65536
	// minList is the least room in a list.
	minList = 32
	// minAffinity is the shortest time that every kernel can tell from none.
	minAffinity = 100 * time.Millisecond
	// minLeft is the shortest rest of a pin's time that is worth a copy.
	minLeft = 20 * time.Millisecond
	// maxReadable is how much of a Service's name is part of other names.
	maxReadable = 40
)

// stickyID names a port the same way after every restart. twin counts earlier ports
// of that name and protocol, which a sound Service does not have.
func stickyID(name localsink.ServiceName, p *localsink.Port, twin int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d %d", name.Namespace, name.Name, p.Name, p.Protocol, twin)
	text := strings.Map(func(r rune) rune {
		if readable("x" + string(r)) {
			return r
		}
		return '_'
	}, name.Name)
	return text[:min(len(text), maxReadable)] + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// stickyIDOf returns the name of a port with affinity, and an empty one for others.
func stickyIDOf(s *localsink.Service, port int) string {
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
	return stickyID(s.Name, p, twins)
}

// Names of what is kept for a port, and for its pools, which count from one.
func stickyChain(id string, pool int) string { return "sticky-" + stickyRef(id, pool) }
func stickyRef(id string, pool int) string   { return id + "-" + strconv.Itoa(pool) }
func half(i int) string                      { return [...]string{"-a", "-b"}[i] }
func pinsName(id string, i int) string       { return "pins-" + id + half(i) }
func listName(id string, pool, i int) string { return "endpoints-" + stickyRef(id, pool) + half(i) }
func drawsName(id string, pool, i int) string {
	return "draws-" + stickyRef(id, pool) + half(i)
}
func affinityOf(d time.Duration) time.Duration { return max(d, minAffinity).Round(time.Millisecond) }

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
func (s *sticky) rules(f *family, p *stickyPool) []rule {
	port := f.addrLen / 4
	spare, client := word(port+1), word(port+2)
	viaMark := func(r rule) rule {
		return append(rule{loadMeta(nfnl.MetaMark, spare)}, r.then(setMark(word(0)), loadMeta(nfnl.MetaMark, word(0)), setMark(spare))...)
	}
	draw := rule{randomBelow(len(p.slots), word(0))}
	if p.draws != nil {
		draw = viaMark(draw.then(mapTo(p.draws.name)))
	}
	target := []expr{mapTo(p.list.name), dnat(f, word(0), word(port))}
	pin := update(s.pins.name, client, word(0))
	rules := []rule{
		draw.then(loadSaddr(f, client), pin),
		viaMark(rule{loadSaddr(f, word(0)), mapTo(s.pins.name)}).then(target...),
	}
	if len(s.pools) > 1 {
		rules = append(rules, draw.then(loadSaddr(f, client), forget(s.pins.name, client, word(0)), pin).then(target...))
	}
	return append(rules, draw.then(target...))
}

// stick brings what is kept for a port into line; timeout is the port's affinity.
func (m *mirror) stick(id string, pools []localsink.Pool, timeout time.Duration) {
	timeout = affinityOf(timeout)
	s := m.stickies[id]
	if s != nil && s.timeout == timeout && slices.EqualFunc(s.source, pools, func(a, b localsink.Pool) bool { return slices.Equal(a.Endpoints, b.Endpoints) }) {
		return
	}
	if s == nil {
		s = &sticky{id: id, pools: map[int]*stickyPool{}}
		m.stickies[id] = s
	}
	slots, left := slotsOf(s.endpoints, pools)
	for _, e := range slots {
		m.hairpinFor(e, true)
	}
	for _, e := range s.endpoints {
		m.hairpinFor(e, false)
	}
	s.source, s.endpoints = pools, slots
	if left || s.timeout != timeout || !s.canGrow() {
		m.renew(s, timeout)
	}
	m.fill(s)
}

// slotsOf puts those who stay in front, in the order that they have, and tells
// whether anybody left. Endpoints of small pools come early: where one pool is part
// of another, as is usual, both then have slots that begin with zero.
func slotsOf(held []localsink.Endpoint, pools []localsink.Pool) (slots []localsink.Endpoint, left bool) {
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
func (s *sticky) canGrow() bool {
	for number, p := range s.pools {
		if number > len(s.source) || len(s.source[number-1].Endpoints) > p.list.size {
			return false
		}
		stay := map[netip.AddrPort]bool{}
		for _, e := range s.source[number-1].Endpoints {
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

// renew begins everything anew, except that pins are carried over.
func (m *mirror) renew(s *sticky, timeout time.Duration) {
	c := carry{to: s, pools: len(s.source), halves: []int{0, 1}} // from before a restart
	if s.pins != nil {
		c.halves = []int{s.half}
		s.half = 1 - s.half
		m.doomedSets = append(m.doomedSets, s.pins)
		s.endpoints, _ = slotsOf(nil, s.source)
	}
	for _, number := range slices.Sorted(maps.Keys(s.pools)) {
		p := s.pools[number]
		c.pools = max(c.pools, number)
		m.doomSets(p)
		p.slots, p.list, p.draws = nil, nil, nil
		if number > len(s.source) || len(s.source[number-1].Endpoints) == 0 {
			m.doomChain(p.chain)
			delete(s.pools, number)
		}
	}
	m.carries = append(m.carries, c)
	s.timeout = timeout
	s.pins = m.newSet(pinsName(s.id, s.half), pins)
	s.pins.size, s.pins.timeout = maxPins, timeout
}

func (m *mirror) doomSets(p *stickyPool) {
	m.doomedSets = append(m.doomedSets, p.list)
	if p.draws != nil {
		m.doomedSets = append(m.doomedSets, p.draws)
	}
}

func (m *mirror) doomChain(name string) {
	m.out.setRules(chainSpec{name: name})
	m.doomedChains = append(m.doomedChains, name)
}

// fill adds what the lists do not have yet, and writes the rules.
func (m *mirror) fill(s *sticky) {
	slotOf := map[netip.AddrPort]uint32{}
	for i, e := range s.endpoints {
		slotOf[e.Addr] = uint32(i)
	}
	fresh := map[int]bool{}
	for i, pool := range s.source {
		number := i + 1
		if len(pool.Endpoints) > 0 && s.pools[number] == nil {
			s.pools[number], fresh[number] = &stickyPool{chain: stickyChain(s.id, number)}, true
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

func (m *mirror) fillPool(s *sticky, p *stickyPool, number int, slotOf map[netip.AddrPort]uint32) {
	endpoints := s.source[number-1].Endpoints
	room := max(minList, 1<<bits.Len(uint(2*len(endpoints))))
	if p.list == nil {
		p.list = m.newSet(listName(s.id, number, s.half), slotsAlone)
		p.list.size = room
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
		m.add(p.list, element{slot: slot, value: s.endpoints[slot].Addr})
	}
	same := true
	for i, slot := range p.slots {
		same = same && slot == uint32(i)
	}
	if p.draws == nil && !same {
		p.draws = m.newSet(drawsName(s.id, number, s.half), draws)
		p.draws.size, listed = p.list.size, 0
	}
	if p.draws != nil {
		for i, slot := range p.slots[listed:] {
			m.add(p.draws, element{slot: uint32(listed + i), to: slot})
		}
	}
}

func (m *mirror) hairpinFor(e localsink.Endpoint, more bool) {
	if e.Local {
		m.refer(m.hairpin, m.hairpinRefs, element{key: key{addr: e.Addr}}, more)
	}
}

// unstick ends one plan's need of what is kept for a port.
func (m *mirror) unstick(id string) {
	s := m.stickies[id]
	if s.refs--; s.refs > 0 {
		return
	}
	delete(m.stickies, id)
	for _, e := range s.endpoints {
		m.hairpinFor(e, false)
	}
	m.doomedSets = append(m.doomedSets, s.pins)
	for _, number := range slices.Sorted(maps.Keys(s.pools)) {
		m.doomSets(s.pools[number])
		m.doomChain(s.pools[number].chain)
	}
}

// sweep forgets plans of ports with affinity that nobody refers to any more, and
// with them what is kept for their pools. Unlike plans that all can use, they would
// be of no use to others. Their rules go at once, which ends the references to
// chains and sets; these go in the next script.
func (m *mirror) sweep() {
	for _, c := range m.idle {
		if c.refs > 0 || m.plans[*c.plan] != c {
			continue
		}
		delete(m.plans, *c.plan)
		delete(m.unused, c)
		m.doomChain(c.name)
		m.unstick(c.plan.sticky)
	}
	m.idle = m.idle[:0]
}

// A carry is the task of filling new pins with what older ones hold.
type carry struct {
	to     *sticky
	pools  int   // how many lists there may be, and
	halves []int // where the old ones are
}

// carryOver does for the script under way what is left to do: it copies the pins that
// lead to endpoints which are still there, with the time that they have left. read
// returns the elements that a set has in the kernel, none when there is no such set.
//
// A pin that is made while its set is being read may be missed: that client draws
// anew. None is ever kept that leads to an endpoint that left.
func (m *mirror) carryOver(read func(set string) []nfnl.Element) {
	for _, c := range m.carries {
		slotOf := map[netip.AddrPort]uint32{}
		for i, e := range c.to.endpoints {
			slotOf[e.Addr] = uint32(i)
		}
		kept := map[netip.Addr]element{}
		for _, half := range c.halves {
			m.readPins(c, half, read, slotOf, kept)
		}
		n := 0
		for _, e := range kept {
			if n++; n > maxPins {
				break
			}
			m.out.add(c.to.pins, e) // not counted: they come and go with packets
		}
	}
	m.carries = m.carries[:0]
}

func (m *mirror) readPins(c carry, half int, read func(string) []nfnl.Element, slotOf map[netip.AddrPort]uint32, kept map[netip.Addr]element) {
	old := read(pinsName(c.to.id, half))
	if len(old) == 0 {
		return
	}
	endpoints := map[uint32]netip.AddrPort{}
	for i := range c.pools {
		for _, e := range read(listName(c.to.id, i+1, half)) {
			if len(e.Key) == 4 && len(e.Data) == m.family.addrLen+4 {
				addr, _ := netip.AddrFromSlice(e.Data[:m.family.addrLen])
				endpoints[binary.NativeEndian.Uint32(e.Key)] = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(e.Data[m.family.addrLen:]))
			}
		}
	}
	for _, e := range old {
		client, ok := netip.AddrFromSlice(e.Key)
		if !ok || len(e.Data) != 4 || e.Left < minLeft || e.Left <= kept[client].left {
			continue
		}
		if slot, stays := slotOf[endpoints[binary.NativeEndian.Uint32(e.Data)]]; stays {
			kept[client] = element{key: key{addr: netip.AddrPortFrom(client, 0)}, to: slot, left: min(e.Left, c.to.timeout)}
		}
	}
}
