// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// An affinityPort is a port with session affinity as the kernel holds it: the affinity
// entries of its clients, and a load-balancing chain with an endpoint map for each of its
// pools. An entry maps a client address to the slot of an endpoint. Slots count the endpoints
// of all pools, so all pools share the entries.
//
// An endpoint keeps its slot as long as the map of entries exists. When an endpoint is
// removed, new maps replace all maps of the port, in the transaction that makes the chains
// use them. A packet sees either the old maps or the new ones; an entry that a packet adds to
// the old map is lost.
type affinityPort struct {
	id        string
	proto     localsink.Protocol
	refs      int // dispatch chains that lead here
	timeout   time.Duration
	selection localsink.Selection // of the endpoint of a new client
	refused   uint16              // share of connections without an entry that are rejected, in 1/1000
	desired   []localsink.Pool
	endpoints []localsink.Endpoint  // by slot
	suffix    int                   // which of two suffixes the names of the maps have
	entries   *set                  // client address : slot
	pools     map[int]*affinityPool // pools with endpoints, counted from one
}

// An affinityPool is one pool of an affinityPort.
type affinityPool struct {
	chain     string
	slots     []uint32 // of the pool's endpoints
	endpoints *set     // slot : endpoint, with the slots of this pool only
	// choices holds the slot of each number: the slots themselves, or, with different weights,
	// each as often as its weight requires.
	choices []uint32
	// index maps numbers to slots; nil if the choices are 0, 1, 2...
	index *set
}

const (
	// maxAffinityEntries is the maximum number of clients of a port with an affinity entry;
	// further clients have no affinity. The kernel allocates memory for actual entries only.
	maxAffinityEntries = 65536
	// minPoolMapSize is the minimum size of the maps of a pool.
	minPoolMapSize = 32
	// minAffinity is the shortest timeout; kernels may round shorter ones to none.
	minAffinity = 100 * time.Millisecond
	// minRemaining is the shortest remaining lifetime of an entry that is worth a copy.
	minRemaining = 20 * time.Millisecond
	// maxServiceNamePart is the maximum length of a Service's name in the names of chains and
	// maps. With all other parts, names stay below the limit of nft of 128 bytes.
	maxServiceNamePart = 32
)

// newAffinityID returns an identifier of a port that is the same after a restart. duplicates
// is the number of earlier ports with the same name and protocol; valid Services have none.
func newAffinityID(name localsink.ServiceName, p *localsink.Port, duplicates int) string {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d %d", name.Namespace, name.Name, p.Name, p.Protocol, duplicates)
	if name.Origin != "" {
		fmt.Fprintf(h, " %q", name.Origin)
	}
	text := strings.Map(func(r rune) rune {
		if isIdentifier("x" + string(r)) {
			return r
		}
		return '_'
	}, name.Name)
	return text[:min(len(text), maxServiceNamePart)] + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}

// affinityIDOf returns the affinity ID of a port, or an empty string if it has no affinity.
func affinityIDOf(s *localsink.Service, port int) string {
	p := &s.Ports[port]
	if p.Affinity <= 0 {
		return ""
	}
	duplicates := 0
	for i := range s.Ports[:port] {
		if o := &s.Ports[i]; o.Affinity > 0 && o.Name == p.Name && o.Protocol == p.Protocol {
			duplicates++
		}
	}
	return newAffinityID(s.Name, p, duplicates)
}

// portIDOf returns the identifier of a port without affinity.
func portIDOf(s *localsink.Service, port int) string {
	p, duplicates := &s.Ports[port], 0
	for i := range s.Ports[:port] {
		if s.Ports[i].Name == p.Name && s.Ports[i].Protocol == p.Protocol {
			duplicates++
		}
	}
	return newAffinityID(s.Name, p, duplicates)
}

// Names of the chains and maps of a port with affinity, and of its pools, counted from one.
// i selects one of two suffixes.

func affinityChainName(id string, pool int) string {
	return prefixAffinity + id + "-" + poolWord + strconv.Itoa(pool)
}

func entriesMapName(id string, i int) string { return prefixAffinity + id + mapSuffix(i) }

func poolEndpointsMapName(id string, pool, i int) string {
	return prefixEndpoints + id + "-" + poolWord + strconv.Itoa(pool) + mapSuffix(i)
}

func poolIndexMapName(id string, pool, i int) string {
	return prefixIndex + id + "-" + poolWord + strconv.Itoa(pool) + mapSuffix(i)
}

func mapSuffix(i int) string { return [...]string{"-a", "-b"}[i] }

// affinityTimeout returns d as the kernel can represent it.
func affinityTimeout(d time.Duration) time.Duration {
	return max(d, minAffinity).Round(time.Millisecond)
}

// rules returns the rules of a pool's chain:
//
//  1. add an entry for a new client, or restart the timeout of the present entry
//  2. DNAT to the endpoint of the entry
//  3. if the entry leads to another pool's endpoint, replace it and DNAT to the new endpoint
//  4. if there is no room for an entry, DNAT to a random endpoint
//
// If a share of connections is refused, other rules precede them: clients with an entry for this
// pool restart its timeout and get its endpoint; those with an entry for another pool get a new
// one; the share of the others is rejected.
//
// Where a slot is the key of a lookup, the packet priority holds it before and is restored at
// once: nft 1.0.6 aborts when it lists a lookup whose key is a lookup. What nft lists does not
// contain the restoration. If it is loaded again, the slot remains in the priority of the
// first packet of a connection. That is without effect on most hosts, unlike a slot in the
// packet mark. nft loads a DNAT to a port only if the rule matches the transport protocol.
func (a *affinityPort) rules(f *family, p *affinityPool) []rule {
	port := f.addrLen / 4
	client := word(port + 2)
	viaPriority := func(r rule) rule { return viaPriority(f, r) }
	matchProtocol := rule{loadMeta(nfnl.MetaL4proto, word(0)), equal(word(0), []byte{byte(a.proto)})}
	newSlot := a.newNumber(f, len(p.choices))
	selectSlot := matchProtocol.then(viaPriority(newSlot)...)
	if p.index != nil {
		newSlot = viaPriority(viaPriority(newSlot).then(mapTo(p.index.name)))
		selectSlot = matchProtocol.then(newSlot...)
	}
	dnatToSlot := []expr{mapTo(p.endpoints.name), dnat(f, word(0), word(port))}
	setEntry := updateEntry(a.entries.name, client, word(0))
	replaceEntry := selectSlot.then(loadSaddr(f, client), deleteEntry(a.entries.name, client, word(0)), setEntry).then(dnatToSlot...)
	var rules []rule
	if a.refused > 0 {
		rules = []rule{
			matchProtocol.then(viaPriority(rule{loadSaddr(f, word(0)), mapTo(a.entries.name)})...).then(loadSaddr(f, client), setEntry).then(dnatToSlot...),
		}
		if len(a.pools) > 1 {
			rules = append(rules, viaPriority(rule{loadSaddr(f, word(0)), mapTo(a.entries.name)}).then(replaceEntry...))
		}
		rules = append(rules, randomlyBelow(int(a.refused), 1000).then(goTo(chainReject)))
	}
	rules = append(rules,
		newSlot.then(loadSaddr(f, client), setEntry),
		matchProtocol.then(viaPriority(rule{loadSaddr(f, word(0)), mapTo(a.entries.name)})...).then(dnatToSlot...),
	)
	if len(a.pools) > 1 {
		rules = append(rules, replaceEntry)
	}
	return append(rules, selectSlot.then(dnatToSlot...))
}

// newNumber computes the number by which a new client gets its endpoint.
func (a *affinityPort) newNumber(f *family, choices int) rule {
	if isConsistent(a.selection) && choices > 1 {
		return hashOfClient(f, a.selection, choices)
	}
	return rule{randomBelow(choices, word(0))}
}

// viaPriority appends steps that move the first register through the packet priority. They use
// the register after those of an endpoint.
func viaPriority(f *family, r rule) rule {
	saved := word(f.addrLen/4 + 1)
	return append(rule{loadMeta(nfnl.MetaPriority, saved)}, r.then(setMeta(nfnl.MetaPriority, word(0)),
		loadMeta(nfnl.MetaPriority, word(0)), setMeta(nfnl.MetaPriority, saved))...)
}

// canGrow reports whether the desired pools contain all endpoints of the present ones, and
// the maps have room for them.
func (a *affinityPort) canGrow() bool {
	for number, p := range a.pools {
		if number > len(a.desired) || len(a.desired[number-1].Endpoints) > p.endpoints.size {
			return false
		}
		if p.index != nil && a.numberOfChoices(a.desired[number-1].Endpoints) > p.index.size {
			return false
		}
		remaining := map[netip.AddrPort]bool{}
		for _, e := range a.desired[number-1].Endpoints {
			remaining[e.Addr] = true
		}
		for _, slot := range p.slots {
			if !remaining[a.endpoints[slot].Addr] {
				return false
			}
		}
	}
	return true
}

// numberOfChoices returns the number of choices for the endpoints of a pool.
func (a *affinityPort) numberOfChoices(endpoints []localsink.Endpoint) (n int) {
	if isConsistent(a.selection) {
		return consistent.Size(len(endpoints))
	}
	if !hasDifferentWeights(endpoints) {
		return len(endpoints)
	}
	for _, count := range slotCounts(endpoints) {
		n += count
	}
	return n
}

// newChoices returns the choices of a pool, whose slots are given. Choices that remain keep their
// number. slotOf has the slot of each endpoint.
func (a *affinityPort) newChoices(p *affinityPool, endpoints []localsink.Endpoint, slotOf map[netip.AddrPort]uint32) []uint32 {
	if isConsistent(a.selection) && len(endpoints) > 1 {
		return consistentChoices(endpoints, slotOf)
	}
	if !hasDifferentWeights(endpoints) {
		return p.slots
	}
	missing, total := make(map[uint32]int, len(endpoints)), 0
	for i, n := range slotCounts(endpoints) {
		missing[slotOf[endpoints[i].Addr]] = n
		total += n
	}
	choices, kept := make([]uint32, total), make([]bool, total)
	for i, slot := range p.choices[:min(len(p.choices), total)] {
		if missing[slot] > 0 {
			choices[i], kept[i] = slot, true
			missing[slot]--
		}
	}
	at := 0
	for _, slot := range p.slots {
		for range missing[slot] {
			for kept[at] {
				at++
			}
			choices[at] = slot
			at++
		}
	}
	return choices
}

// slotsByEndpoint returns the slot of each endpoint.
func (a *affinityPort) slotsByEndpoint() map[netip.AddrPort]uint32 {
	slots := make(map[netip.AddrPort]uint32, len(a.endpoints))
	for i, e := range a.endpoints {
		slots[e.Addr] = uint32(i)
	}
	return slots
}

// affinitySlots distributes the endpoints of all pools to slots: first the held endpoints that
// remain, in their present order. It reports whether a held endpoint was removed. Endpoints
// of small pools precede others: if one pool contains another, as is usual, the slots of both
// begin with zero.
func affinitySlots(held []localsink.Endpoint, pools []localsink.Pool) (slots []localsink.Endpoint, removed bool) {
	pools = slices.Clone(pools)
	slices.SortStableFunc(pools, func(a, b localsink.Pool) int { return len(a.Endpoints) - len(b.Endpoints) })
	unplaced := map[netip.AddrPort]localsink.Endpoint{}
	for _, p := range pools {
		for _, e := range p.Endpoints {
			e.Local = e.Local || unplaced[e.Addr].Local
			unplaced[e.Addr] = e
		}
	}
	place := func(addr netip.AddrPort) {
		if e, ok := unplaced[addr]; ok {
			slots = append(slots, e)
			delete(unplaced, addr)
		}
	}
	for _, e := range held {
		place(e.Addr)
	}
	removed = len(slots) < len(held)
	for _, p := range pools {
		for _, e := range p.Endpoints {
			place(e.Addr)
		}
	}
	return slots, removed
}
