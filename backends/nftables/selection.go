// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// A selectionTable is the consistent selection from one set of endpoints: an index from the hash
// of the client to the number of an endpoint, and a map from numbers to endpoints. Pools with
// equal endpoints and weights share it. When the endpoints change, the table remains if all of its
// pools change to others, and only the numbers that differ are replaced.
type selectionTable struct {
	name   string // of its chains, without the selection and the protocol
	key    selectionKey
	portID string // of the port whose connections it counts; empty if it counts none
	users  int    // programmed frontends, once for each branch that leads here
	// numbers holds the number of each endpoint, choices the number of each slot of the hash.
	endpoints []localsink.Endpoint
	numbers   map[netip.AddrPort]uint32
	choices   []uint32
	index     *set
	values    *set
	chains    map[string]bool
}

// A selectionKey identifies a set of endpoints with their weights.
type selectionKey [sha256.Size]byte

// newSelectionKey returns the key of a pool. portID is empty unless connections are counted.
func newSelectionKey(portID string, endpoints []localsink.Endpoint) (key selectionKey) {
	h := sha256.New()
	h.Write([]byte(portID))
	var buf []byte
	for i := range endpoints {
		e := &endpoints[i]
		buf = appendAddr(append(buf[:0], 0), e.Addr.Addr())
		buf = binary.BigEndian.AppendUint16(buf, e.Addr.Port())
		buf = binary.BigEndian.AppendUint32(buf, e.Weight)
		if e.Local {
			buf[0] = 1
		}
		h.Write(buf)
	}
	return selectionKey(h.Sum(nil))
}

// isConsistent reports whether a selection sends a client to the same endpoint again.
func isConsistent(s localsink.Selection) bool {
	return s == localsink.SelectionClient || s == localsink.SelectionFlow
}

// hashOfClient computes the slot of a packet's client, of n slots, into the first register.
func hashOfClient(f *family, s localsink.Selection, n int) rule {
	if s == localsink.SelectionFlow {
		return rule{loadSaddr(f, word(0)), loadSport(word(f.addrLen / 4)), hashBelow(n, f.addrLen+4)}
	}
	return rule{loadSaddr(f, word(0)), hashBelow(n, f.addrLen)}
}

// consistentChoices returns the number of the endpoint of each slot.
func consistentChoices(endpoints []localsink.Endpoint, numbers map[netip.AddrPort]uint32) []uint32 {
	list := make([]consistent.Endpoint, len(endpoints))
	for i, e := range endpoints {
		list[i] = consistent.Endpoint{Addr: e.Addr, Weight: uint32(weightOf(e))}
	}
	choices := consistent.NewTable(list)
	for slot, i := range choices {
		choices[slot] = numbers[endpoints[i].Addr]
	}
	return choices
}

// chainOf returns the name of the chain for a selection and a protocol.
func (t *selectionTable) chainOf(s localsink.Selection, proto localsink.Protocol) string {
	return t.name + "-" + selectionWord(s, proto)
}

func selectionWord(s localsink.Selection, proto localsink.Protocol) string {
	return strings.ToLower(s.String()) + "-" + strings.ToLower(proto.String())
}

// rules returns the rules of such a chain; [affinityPort.rules] describes why the packet priority
// holds the numbers.
func (t *selectionTable) rules(f *family, s localsink.Selection, proto localsink.Protocol) []rule {
	number := viaPriority(f, viaPriority(f, hashOfClient(f, s, len(t.choices))).then(mapTo(t.index.name)))
	r := rule{loadMeta(nfnl.MetaL4proto, word(0)), equal(word(0), []byte{byte(proto)})}.then(number...)
	return []rule{r.then(mapTo(t.values.name), dnat(f, word(0), word(f.addrLen/4)))}
}

// ensureTable returns the table of a pool, created if necessary.
func (st *tableState) ensureTable(portID string, endpoints []localsink.Endpoint) *selectionTable {
	key := newSelectionKey(portID, endpoints)
	t := st.selections[key]
	if t != nil {
		return t
	}
	st.lastSelection++
	number := strconv.Itoa(st.lastSelection)
	t = &selectionTable{name: prefixConsistent + number, key: key, portID: portID, chains: map[string]bool{}}
	t.index = st.newSet(prefixIndex+t.name, slotsByIndex, commentConsistentIndex)
	t.index.size = consistent.Size(len(endpoints))
	t.values = st.newSet(prefixEndpoints+t.name, endpointsBySlot, commentConsistentEndpoints)
	t.values.size = max(minPoolMapSize, 1<<bits.Len(uint(2*len(endpoints))))
	t.values.counted, t.values.portID = st.counting, portID
	st.selections[key] = t
	st.fillTable(t, endpoints)
	return t
}

// ensureTableChain creates the chain of a table that a dispatch leads to, if necessary.
func (st *tableState) ensureTableChain(t *selectionTable, s localsink.Selection, proto localsink.Protocol) {
	name := t.chainOf(s, proto)
	if !t.chains[name] {
		t.chains[name] = true
		st.newChain(chainSpec{name: name, comment: commentConsistentChain, rules: t.rules(st.family, s, proto)})
	}
}

// fillTable writes the differences between the content of a table and these endpoints. Numbers of
// removed endpoints are removed in the cleanup.
func (st *tableState) fillTable(t *selectionTable, endpoints []localsink.Endpoint) {
	numbers := make(map[netip.AddrPort]uint32, len(endpoints))
	used := make(map[uint32]bool, len(t.endpoints)+len(endpoints))
	for _, n := range t.numbers {
		used[n] = true
	}
	next := uint32(0)
	for _, e := range endpoints {
		st.countHairpin(e, true)
		n, held := t.numbers[e.Addr]
		if !held {
			for used[next] {
				next++
			}
			n, used[next] = next, true
			st.add(t.values, element{slot: n, value: e.Addr})
		}
		numbers[e.Addr] = n
	}
	for _, e := range t.endpoints {
		st.countHairpin(e, false)
		if _, remains := numbers[e.Addr]; !remains {
			st.count(t.values, -1)
			st.cleanup.removals = append(st.cleanup.removals, removal{t.values, element{slot: t.numbers[e.Addr], value: e.Addr}})
		}
	}
	choices := consistentChoices(endpoints, numbers)
	st.replaceIndex(t.index, t.choices, choices)
	t.endpoints, t.numbers, t.choices = endpoints, numbers, choices
}

// canHold reports whether the table can get these endpoints instead of its own: the hash has as
// many slots, and the map has room for both.
func (t *selectionTable) canHold(endpoints []localsink.Endpoint) bool {
	return consistent.Size(len(endpoints)) == len(t.choices) && 2*len(endpoints) <= t.values.size
}

// reuseTables gives the tables that all of their pools leave to the pools of the same Services
// that need a new one, so that a change of endpoints changes few elements and no verdict.
func (st *tableState) reuseTables(changes []serviceChange) {
	if len(st.selections) == 0 {
		return
	}
	desired := map[selectionKey]bool{}
	leaving := map[*selectionTable]int{}
	for i := range changes {
		for j := range changes[i].frontends {
			for portID, endpoints := range changes[i].frontends[j].consistentPools {
				desired[newSelectionKey(portID, endpoints)] = true
			}
		}
		for t := range st.tablesOf(changes[i].name) {
			leaving[t]++
		}
	}
	for i := range changes {
		var free []*selectionTable
		for t := range st.tablesOf(changes[i].name) {
			if leaving[t] == t.users && !desired[t.key] && !slices.Contains(free, t) {
				free = append(free, t)
			}
		}
		for j := range changes[i].frontends {
			for portID, endpoints := range changes[i].frontends[j].consistentPools {
				free = st.reuseTable(free, portID, endpoints)
			}
		}
	}
}

// reuseTable gives one of the free tables to a pool, unless there is a table for it. It returns
// those that remain free.
func (st *tableState) reuseTable(free []*selectionTable, portID string, endpoints []localsink.Endpoint) []*selectionTable {
	key := newSelectionKey(portID, endpoints)
	if st.selections[key] != nil {
		return free
	}
	at := slices.IndexFunc(free, func(t *selectionTable) bool { return t.portID == portID && t.canHold(endpoints) })
	if at < 0 {
		return free
	}
	t := free[at]
	delete(st.selections, t.key)
	t.key = key
	st.selections[key] = t
	st.fillTable(t, endpoints)
	return slices.Delete(free, at, at+1)
}

// tablesOf yields the tables of a Service, once for each branch that leads to one.
func (st *tableState) tablesOf(name localsink.ServiceName) func(func(*selectionTable) bool) {
	return func(yield func(*selectionTable) bool) {
		r := st.records.Get(name)
		if r == nil {
			return
		}
		for i := range r.frontends {
			for t := range r.frontends[i].chain.tables {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// tables yields the tables that a chain leads to, once for each branch.
func (c *chain) tables(yield func(*selectionTable) bool) {
	if c == nil || c.dispatch == nil {
		return
	}
	for _, b := range c.dispatch.branches[:c.dispatch.count] {
		if b.table != nil && !yield(b.table) {
			return
		}
	}
}

// dropUnusedTables removes the tables that no frontend uses any more.
func (st *tableState) dropUnusedTables() {
	for _, t := range st.change.unusedTables {
		if t.users > 0 || st.selections[t.key] != t {
			continue
		}
		delete(st.selections, t.key)
		for _, e := range t.endpoints {
			st.countHairpin(e, false)
		}
		for name := range t.chains {
			st.emptyChain(name)
		}
		st.cleanup.sets = append(st.cleanup.sets, t.index, t.values)
	}
	st.change.unusedTables = st.change.unusedTables[:0]
}

// consistentPools yields the pools of a frontend that need a table, with the port whose
// connections the table counts.
func (d *desiredFrontend) consistentPools(yield func(portID string, endpoints []localsink.Endpoint) bool) {
	if d.dispatch.affinityID != "" || !isConsistent(d.selection) {
		return
	}
	for _, pool := range d.pools {
		if pool < 0 {
			return
		}
		if endpoints := d.portPools[pool].Endpoints; len(endpoints) > 1 && !yield(d.portID, endpoints) {
			return
		}
	}
}

// withTables returns the dispatch of a frontend with its tables, created if necessary.
func (st *tableState) withTables(d *desiredFrontend) dispatch {
	out := d.dispatch
	if out.affinityID != "" || !isConsistent(d.selection) {
		return out
	}
	for i := range out.branches[:out.count] {
		b := &out.branches[i]
		if b.pool == 0 {
			continue
		}
		if endpoints := d.portPools[d.pools[b.pool-1]].Endpoints; len(endpoints) > 1 {
			b.table, b.size = st.ensureTable(d.portID, endpoints), 0
			out.selection, out.proto = d.selection, d.key.proto
		}
	}
	return out
}
