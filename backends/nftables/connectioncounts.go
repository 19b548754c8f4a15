// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"syscall"

	"sigs.k8s.io/kpng/backends/nftables/internal/nfnl"
	"sigs.k8s.io/kpng/localsink"
)

// A connectionCounts holds the counts of a table that its elements do not hold: a counter ends
// with its element. Counts are read before the transaction that removes their elements.
// Connections between the two are not counted, nor are those since the last read if another
// program removes the elements.
type connectionCounts struct {
	table  *table
	owners map[countOwner]*ownerCounts
	ports  map[string]localsink.ServiceName // Service of each port whose connections are counted together
	state  *tableState                      // of the last transaction
	clock  uint64                           // number of endpoints that were removed
}

// A countOwner is what the counts of elements belong to: a frontend, or a port whose frontends
// share endpoint maps.
type countOwner struct {
	frontend frontendKey
	portID   string
}

// An ownerCounts has the counts of a frontend and of its endpoints.
type ownerCounts struct {
	own       count
	endpoints map[netip.AddrPort]*count
	most      int // endpoints at one time
}

// A count is the number of connections that removed elements have counted.
type count struct {
	past    uint64
	shown   uint64 // the total that was returned last
	removed uint64 // clock of the last removal
}

// keptEndpoints is the number of removed endpoints whose counts are kept, beside twice as many as
// there ever were at one time.
const keptEndpoints = 64

// total adds the count of the present elements. The result does not decrease.
func (c *count) total(present uint64) uint64 {
	c.shown = max(c.shown, c.past+present)
	return c.shown
}

// A countedElement is an element with its counter.
type countedElement struct {
	owner    countOwner
	endpoint netip.AddrPort // invalid for the counter of a frontend
	packets  uint64
}

// newCountedElement decodes an element of a counted set.
func newCountedElement(f *family, s *set, e *nfnl.Element) countedElement {
	c := countedElement{packets: e.Packets}
	if s.kind == verdictsByAddress || s.kind == verdictsByNodePort {
		c.owner.frontend = decodeFrontend(f, s.kind == verdictsByNodePort, e.Key)
		return c
	}
	if len(e.Data) == f.addrLen+4 {
		addr, _ := netip.AddrFromSlice(e.Data[:f.addrLen])
		c.endpoint = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(e.Data[f.addrLen:]))
	}
	if s.portID != "" {
		c.owner.portID = s.portID
	} else {
		c.owner.frontend = decodeFrontend(f, s.kind == endpointsByNodePort, e.Key)
	}
	return c
}

// decodeFrontend returns the frontend at the beginning of a key.
func decodeFrontend(f *family, nodePort bool, key []byte) frontendKey {
	addr := f.unspecified()
	if !nodePort {
		addr, _ = netip.AddrFromSlice(key[:f.addrLen])
		key = key[f.addrLen:]
	}
	return frontendKey{netip.AddrPortFrom(addr, binary.BigEndian.Uint16(key[4:])), localsink.Protocol(key[0])}
}

// readRemoved returns the elements that the pending transaction removes.
func (c *connectionCounts) readRemoved() (removed []countedElement) {
	if c == nil {
		return nil
	}
	tx := &c.table.tx
	keep := func(s *set, elements []nfnl.Element, err error) {
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			c.table.log.Warn("Connection counts lost: failed to read a set", "set", s.name, "err", err)
		}
		for i := range elements {
			removed = append(removed, newCountedElement(c.table.family, s, &elements[i]))
		}
	}
	dump := func(sets []*set) {
		for _, s := range sets {
			if s != nil && s.counted {
				elements, err := c.table.kernel.Elements(c.table.family.number, c.table.cfg.Table, s.name)
				keep(s, elements, err)
			}
		}
	}
	if tx.replaceTable {
		if c.state != nil {
			dump(c.state.sets)
		}
		return removed
	}
	for i := range tx.pending {
		if p := &tx.pending[i]; p.set.counted {
			for keys := range p.removed.chunks(nfnl.MaxGet) {
				elements, err := c.table.kernel.Get(c.table.family.number, c.table.cfg.Table, p.set.name, keys)
				keep(p.set, elements, err)
			}
		}
	}
	dump(tx.deletedSets)
	return removed
}

// add adds the counts of the elements that a transaction has removed. st is the state that the
// transaction led to.
func (c *connectionCounts) add(removed []countedElement, st *tableState) {
	if c == nil {
		return
	}
	for _, e := range removed {
		if e.packets > 0 {
			c.clock++
			n := c.of(e.owner, e.endpoint)
			n.past += e.packets
			n.removed = c.clock
		}
	}
	touched := map[countOwner]int{} // number of removed elements
	for _, e := range removed {
		touched[e.owner]++
	}
	for id, service := range c.ports {
		if st.records.Get(service) == nil {
			touched[countOwner{portID: id}]++
		}
	}
	if c.table.tx.replaceTable {
		for owner, o := range c.owners {
			o.keepShown()
			touched[owner]++
		}
	}
	for owner, n := range touched {
		c.prune(owner, n, st)
	}
	c.state = st
}

// of returns a count, created if necessary.
func (c *connectionCounts) of(owner countOwner, endpoint netip.AddrPort) *count {
	o := c.owners[owner]
	if o == nil {
		o = &ownerCounts{endpoints: map[netip.AddrPort]*count{}}
		c.owners[owner] = o
	}
	if !endpoint.IsValid() {
		return &o.own
	}
	if o.endpoints[endpoint] == nil {
		o.endpoints[endpoint] = &count{}
	}
	return o.endpoints[endpoint]
}

// keepShown makes sure that no count decreases, if another program removed the elements before
// they were read.
func (o *ownerCounts) keepShown() {
	o.own.past = max(o.own.past, o.own.shown)
	for _, n := range o.endpoints {
		n.past = max(n.past, n.shown)
	}
}

// prune removes the counts of an owner that no longer exists, and those of endpoints that were
// removed long ago. removed is the number of its elements that were removed just now.
func (c *connectionCounts) prune(owner countOwner, removed int, st *tableState) {
	o := c.owners[owner]
	if o == nil { // it has no counts, but may have a port
		if st.records.Get(c.ports[owner.portID]) == nil {
			delete(c.ports, owner.portID)
		}
		return
	}
	present, exists := st.endpointsOf(owner)
	if !exists {
		delete(c.owners, owner)
		delete(c.ports, owner.portID)
		return
	}
	o.most = max(o.most, len(present)+removed)
	if len(o.endpoints) <= 2*o.most+keptEndpoints {
		return
	}
	var gone []netip.AddrPort
	for a := range o.endpoints {
		if !present[a] {
			gone = append(gone, a)
		}
	}
	slices.SortFunc(gone, func(a, b netip.AddrPort) int { return cmp.Compare(o.endpoints[a].removed, o.endpoints[b].removed) })
	for _, a := range gone[:len(gone)/2] {
		delete(o.endpoints, a)
	}
}

// endpointsOf returns the endpoints of an owner, and whether the owner exists.
func (st *tableState) endpointsOf(owner countOwner) (present map[netip.AddrPort]bool, exists bool) {
	present = map[netip.AddrPort]bool{}
	add := func(endpoints []localsink.Endpoint) {
		for i := range endpoints {
			present[endpoints[i].Addr] = true
		}
	}
	if owner.portID != "" {
		if a := st.affinityPorts[owner.portID]; a != nil {
			add(a.endpoints)
		}
		service := st.countedPorts[owner.portID]
		for t := range st.tablesOf(service) {
			if t.portID == owner.portID {
				add(t.endpoints)
			}
		}
		return present, st.records.Get(service) != nil
	}
	f := st.programmedFrontend(owner.frontend)
	if f != nil {
		for _, slots := range f.slots {
			for _, e := range slots.all() {
				present[e.Addr] = true
			}
		}
	}
	return present, f != nil
}

// programmedFrontend returns the frontend with the key, or nil.
func (st *tableState) programmedFrontend(k frontendKey) *programmedFrontend {
	if r := st.owners[k]; r != nil {
		if at := indexOfFrontend(r.frontends, k, 0); at >= 0 {
			return &r.frontends[at]
		}
	}
	return nil
}
