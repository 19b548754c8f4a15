// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// A pool is a pool of a Service as it is in the maps. It does not change; a change of the
// endpoints makes a new one.
type pool struct {
	endpoints    []localsink.Endpoint
	draining     []netip.AddrPort // of the port
	selection    localsink.Selection
	version      uint64 // unique, also among processes
	base, length uint32 // of the slots
	table, cells uint32
}

// is reports whether p has the given content.
func (p *pool) is(port *localsink.Port, endpoints []localsink.Endpoint) bool {
	return p.selection == port.Selection && slices.Equal(p.endpoints, endpoints) && slices.Equal(p.draining, port.Draining)
}

// addPool writes a pool to free elements of the maps.
func (s *state) addPool(id portID, port *localsink.Port, endpoints []localsink.Endpoint) (*pool, error) {
	p := &pool{endpoints: endpoints, draining: port.Draining, selection: port.Selection}
	p.version = s.nextVersion()
	data := s.slotsOf(id, port, endpoints)
	p.length = uint32(len(data) / slotSize)
	var err error
	if p.base, err = s.slots.alloc(p.length); err != nil {
		return nil, err
	}
	if err := s.maps.write(arraySlots, p.base, data); err != nil {
		return nil, err
	}
	if !isConsistent(port.Selection) || len(endpoints) == 0 {
		return p, nil
	}
	list := make([]consistent.Endpoint, len(endpoints))
	for i, e := range endpoints {
		list[i] = consistent.Endpoint{Addr: e.Addr, Weight: e.Weight}
	}
	table := consistent.NewTable(list)
	cells := make([]byte, len(table)*cellSize)
	for i, v := range table {
		binary.NativeEndian.PutUint32(cells[i*cellSize:], v)
	}
	p.cells = uint32(len(table))
	if p.table, err = s.cells.alloc(p.cells); err != nil {
		return nil, err
	}
	return p, s.maps.write(arrayCells, p.table, cells)
}

// slotsOf returns the slots of the endpoints, and of those that drain, which are never selected.
func (s *state) slotsOf(id portID, port *localsink.Port, endpoints []localsink.Endpoint) []byte {
	s.buffer = slices.Grow(s.buffer[:0], slotSize*(len(endpoints)+len(port.Draining)))
	shares := newShares(endpoints)
	add := func(sl slot) {
		s.buffer = s.buffer[:len(s.buffer)+slotSize]
		sl.encode(s.buffer[len(s.buffer)-slotSize:])
	}
	for i := range endpoints {
		sl := slot{endpoint: newEndpointKey(endpoints[i].Addr), threshold: always, counter: s.counterOf(id, counterID{endpoint: endpoints[i].Addr})}
		if shares != nil {
			sl.threshold, sl.alias = shares[i].threshold, shares[i].alias
		}
		add(sl)
	}
	for _, a := range port.Draining {
		add(slot{endpoint: newEndpointKey(a), threshold: always})
	}
	return s.buffer
}

// releasePool frees the elements of a pool that no frontend refers to.
func (s *state) releasePool(p *pool) {
	s.slots.release(p.base, p.length)
	s.cells.release(p.table, p.cells)
}
