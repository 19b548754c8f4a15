// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/consistent"
)

// choice returns an nft expression that selects one of the endpoints: it takes a slot, at
// random or by a hash of the client, and looks up the endpoint of the slot.
func choice(selection localsink.Selection, family string, endpoints []localsink.Endpoint) string {
	slots := &slotMap{endpoints: endpoints}
	client := family + " saddr"
	switch selection {
	case localsink.SelectionFlow:
		client += " . th sport"
		fallthrough
	case localsink.SelectionClient:
		var weighted []consistent.Endpoint
		for _, e := range endpoints {
			weighted = append(weighted, consistent.Endpoint{Addr: e.Addr, Weight: e.Weight})
		}
		for _, i := range consistent.NewTable(weighted) {
			slots.add(int(i), 1)
		}
		return fmt.Sprintf("jhash %s mod %d seed %d map { %s }", client, slots.size, consistent.Seed, slots.elements())
	case localsink.SelectionRandom, localsink.SelectionLeastConnections: // the latter is unsupported
	}
	sum := uint64(0)
	for _, e := range endpoints {
		sum += uint64(e.Weight)
	}
	for i, e := range endpoints {
		slots.add(i, max(1, uint64(e.Weight)*maxSlots/max(sum, maxSlots)))
	}
	return fmt.Sprintf("numgen random mod %d map { %s }", slots.size, slots.elements())
}

// maxSlots limits the sum of weights: the kernel counts slots in 32 bits.
const maxSlots = 1 << 24

// A slotMap assigns slots to endpoints, in ranges.
type slotMap struct {
	endpoints []localsink.Endpoint
	size      uint64
	ranges    []slotRange
}

// A slotRange is adjacent slots of one endpoint.
type slotRange struct {
	endpoint    int
	first, last uint64
}

// add assigns the next n slots to an endpoint.
func (m *slotMap) add(endpoint int, n uint64) {
	if i := len(m.ranges) - 1; i >= 0 && m.ranges[i].endpoint == endpoint {
		m.ranges[i].last += n
	} else {
		m.ranges = append(m.ranges, slotRange{endpoint, m.size, m.size + n - 1})
	}
	m.size += n
}

// elements returns the elements of an nft map.
func (m *slotMap) elements() string {
	var all []string
	for _, r := range m.ranges {
		to := m.endpoints[r.endpoint].Addr
		all = append(all, fmt.Sprintf("%d-%d : %s . %d", r.first, r.last, to.Addr(), to.Port()))
	}
	return strings.Join(all, ", ")
}
