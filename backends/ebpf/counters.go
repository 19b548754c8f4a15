// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"net/netip"

	"sigs.k8s.io/kpng/localsink"
)

// A counterID identifies what a counter of a port counts: the new connections to a frontend, or
// to an endpoint.
type counterID struct {
	frontend netip.AddrPort
	kind     localsink.FrontendKind
	endpoint netip.AddrPort
}

// counters assigns elements of the array of counters. They are not reused within one load of the
// maps; the next load keeps the counts of those that are still used.
type counters struct {
	size, next uint32
	full       bool // a counter has no element
	ids        map[localsink.ServiceName]map[portID]map[counterID]*counter
}

// ports returns the counters of a Service.
func (c *counters) ports(name localsink.ServiceName) map[portID]map[counterID]*counter {
	return c.ids[name]
}

// A counter is an element of the array, and the count of earlier loads.
type counter struct {
	index uint32
	base  uint64
}

func newCounters(size uint32) counters {
	return counters{size: size, next: 1, ids: map[localsink.ServiceName]map[portID]map[counterID]*counter{}}
}

// counterOf returns the index of a counter; 0 counts nothing.
func (s *state) counterOf(port portID, id counterID) uint32 {
	if !s.counting {
		return 0
	}
	c := &s.counters
	ports := c.ids[port.service]
	if ports == nil {
		ports = map[portID]map[counterID]*counter{}
		c.ids[port.service] = ports
	}
	of := ports[port]
	if of == nil {
		of = map[counterID]*counter{}
		ports[port] = of
	}
	entry := of[id]
	if entry == nil {
		entry = &counter{}
		of[id] = entry
	}
	switch {
	case entry.index != 0:
	case c.next < c.size:
		entry.index = c.next
		c.next++
	default:
		c.full = true
	}
	return entry.index
}

// remove forgets the counters of a Service.
func (c *counters) remove(name localsink.ServiceName) {
	delete(c.ids, name)
}

// carry returns the counters with their present values, for the next load.
func (c *counters) carry(values []uint64, size uint32) counters {
	next := newCounters(size)
	for name, ports := range c.ids {
		next.ids[name] = map[portID]map[counterID]*counter{}
		for port, of := range ports {
			next.ids[name][port] = map[counterID]*counter{}
			for id, entry := range of {
				next.ids[name][port][id] = &counter{base: entry.value(values)}
			}
		}
	}
	return next
}

func (c *counter) value(values []uint64) uint64 {
	if c.index == 0 || int(c.index) >= len(values) {
		return c.base
	}
	return c.base + values[c.index]
}
