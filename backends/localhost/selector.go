// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// A selector selects the endpoints of new connections. It is immutable.
type selector struct {
	selection localsink.Selection
	endpoints []localsink.Endpoint // not empty
	sum       uint64               // of the weights
	table     consistent.Table     // for consistent selection
}

func newSelector(selection localsink.Selection, endpoints []localsink.Endpoint) *selector {
	s := &selector{selection: selection, endpoints: endpoints}
	for _, e := range endpoints {
		s.sum += uint64(e.Weight)
	}
	if s.isConsistent() {
		list := make([]consistent.Endpoint, len(endpoints))
		for i, e := range endpoints {
			list[i] = consistent.Endpoint{Addr: e.Addr, Weight: e.Weight}
		}
		s.table = consistent.NewTable(list)
	}
	return s
}

// is reports whether s has the given selection and endpoints. s may be nil.
func (s *selector) is(selection localsink.Selection, endpoints []localsink.Endpoint) bool {
	return s != nil && s.selection == selection && slices.Equal(s.endpoints, endpoints)
}

func (s *selector) isConsistent() bool {
	return s.selection == localsink.SelectionClient || s.selection == localsink.SelectionFlow
}

// has reports whether addr is one of the endpoints. s may be nil.
func (s *selector) has(addr netip.AddrPort) bool {
	return s != nil && slices.ContainsFunc(s.endpoints, func(e localsink.Endpoint) bool { return e.Addr == addr })
}

// pick returns the endpoint of a new connection of client. connections are the relayed
// connections by endpoint.
func (s *selector) pick(client net.Addr, connections map[netip.AddrPort]int) netip.AddrPort {
	switch s.selection {
	case localsink.SelectionClient, localsink.SelectionFlow:
		if from, err := netip.ParseAddrPort(client.String()); err == nil {
			hash := consistent.HashFlow(from)
			if s.selection == localsink.SelectionClient {
				hash = consistent.HashClient(from.Addr())
			}
			return s.endpoints[s.table[s.table.Slot(hash)]].Addr
		}
	case localsink.SelectionLeastConnections:
		return s.leastConnections(connections)
	case localsink.SelectionRandom:
	}
	return s.random()
}

// random selects at random, with the weights of the endpoints.
func (s *selector) random() netip.AddrPort {
	if s.sum == uint64(len(s.endpoints)) { // each weight is 1
		return s.endpoints[rand.IntN(len(s.endpoints))].Addr
	}
	at := rand.Uint64N(s.sum)
	for _, e := range s.endpoints {
		if at < uint64(e.Weight) {
			return e.Addr
		}
		at -= uint64(e.Weight)
	}
	return s.endpoints[0].Addr // not reached: at is less than the sum
}

// leastConnections selects an endpoint with the fewest connections in relation to its weight,
// and a random one of several.
func (s *selector) leastConnections(connections map[netip.AddrPort]int) netip.AddrPort {
	best, equal := s.endpoints[0], 1
	for _, e := range s.endpoints[1:] {
		// Compares connections/weight without a division.
		mine, theirs := uint64(connections[e.Addr])*uint64(best.Weight), uint64(connections[best.Addr])*uint64(e.Weight)
		switch {
		case mine < theirs:
			best, equal = e, 1
		case mine == theirs:
			if equal++; rand.IntN(equal) == 0 {
				best = e
			}
		}
	}
	return best.Addr
}
