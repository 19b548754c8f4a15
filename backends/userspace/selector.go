// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// A selector selects the endpoints of new connections. It is immutable.
type selector struct {
	selection localsink.Selection
	endpoints []localsink.Endpoint // ordered by address and port
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

// is reports whether s has the given selection and endpoints.
func (s *selector) is(selection localsink.Selection, endpoints []localsink.Endpoint) bool {
	return s.selection == selection && slices.Equal(s.endpoints, endpoints)
}

func (s *selector) isConsistent() bool {
	return s.selection == localsink.SelectionClient || s.selection == localsink.SelectionFlow
}

// has reports whether addr is one of the endpoints.
func (s *selector) has(addr netip.AddrPort) bool {
	_, found := slices.BinarySearchFunc(s.endpoints, addr, func(e localsink.Endpoint, a netip.AddrPort) int { return e.Addr.Compare(a) })
	return found
}

// without returns a selector for the other endpoints.
func (s *selector) without(addr netip.AddrPort) *selector {
	rest := slices.DeleteFunc(slices.Clone(s.endpoints), func(e localsink.Endpoint) bool { return e.Addr == addr })
	return newSelector(s.selection, rest)
}

// pick returns the endpoint of a new connection of client; there must be an endpoint. active
// returns the number of present connections to an endpoint.
func (s *selector) pick(client netip.AddrPort, active func(netip.AddrPort) int) netip.AddrPort {
	switch s.selection {
	case localsink.SelectionClient:
		return s.endpoints[s.table[s.table.Slot(consistent.HashClient(client.Addr()))]].Addr
	case localsink.SelectionFlow:
		return s.endpoints[s.table[s.table.Slot(consistent.HashFlow(client))]].Addr
	case localsink.SelectionLeastConnections:
		return s.leastConnections(active)
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
func (s *selector) leastConnections(active func(netip.AddrPort) int) netip.AddrPort {
	best, equal := s.endpoints[0], 1
	for _, e := range s.endpoints[1:] {
		// Compares connections/weight without a division.
		mine, theirs := uint64(active(e.Addr))*uint64(best.Weight), uint64(active(best.Addr))*uint64(e.Weight)
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
