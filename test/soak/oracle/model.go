// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Outcomes of a probe that reaches no endpoint.
const (
	outcomeNone   = "not translated"
	outcomeReject = "rejected"
	outcomeDrop   = "dropped"
)

// A target is what happens to the connections of a kind of client.
type target struct {
	verdict    string // outcomeReject or outcomeDrop; empty if there are endpoints
	endpoints  []netip.AddrPort
	local      []netip.Addr // endpoints of the node
	masquerade bool
	affinity   time.Duration
}

// String returns the target as an outcome.
func (t target) String() string {
	if t.verdict != "" {
		return t.verdict
	}
	return reached(t.endpoints, t.masquerade, t.affinity)
}

// reached returns the outcome of connections to endpoints.
func reached(endpoints []netip.AddrPort, masquerade bool, affinity time.Duration) string {
	sorted := slices.SortedFunc(slices.Values(endpoints), netip.AddrPort.Compare)
	words := make([]string, 0, len(sorted)+2)
	for _, e := range slices.Compact(sorted) {
		words = append(words, e.String())
	}
	if masquerade {
		words = append(words, "masqueraded")
	}
	if affinity > 0 {
		words = append(words, fmt.Sprintf("with affinity %v", affinity))
	}
	return strings.Join(words, " ")
}

// A frontend is what a Service does at one destination.
type frontend struct {
	// ranges are the permitted clients; nil permits all.
	ranges []netip.Prefix
	// pod, node and other are for pods of the node, the node and all other clients.
	pod, node, other target
}

// A Model holds the frontends of a node.
type Model struct {
	node     *Node
	networks []netip.Prefix // of Services
	// frontends has the frontends by destination; the address of a node port is unspecified.
	frontends  map[destination]*frontend
	clusterIPs map[netip.Addr]bool
	// nodePortAddrs are the addresses of the node that serve node ports.
	nodePortAddrs []netip.Addr
	// local are the endpoints of the node.
	local map[netip.Addr]bool
}

func newModel(node *Node, networks []netip.Prefix) *Model {
	return &Model{
		node: node, networks: networks, frontends: map[destination]*frontend{}, clusterIPs: map[netip.Addr]bool{}, local: map[netip.Addr]bool{},
	}
}

// destinations returns the destinations of probes about the model.
func (m *Model) destinations() (all []destination) {
	for d := range m.frontends {
		all = append(all, onNode(d, m.node)...)
	}
	for addr := range m.clusterIPs {
		all = append(all, unusedPort(addr))
	}
	for _, network := range m.networks {
		all = append(all, destination{netip.AddrPortFrom(lastByte(network.Addr(), 199), 9), "TCP"})
	}
	return all
}

// onNode returns the destinations at which a node port answers, and others unchanged.
func onNode(d destination, node *Node) (all []destination) {
	if !d.addr.Addr().IsUnspecified() {
		return []destination{d}
	}
	for _, a := range node.Addrs {
		if a.Is4() == d.addr.Addr().Is4() {
			all = append(all, destination{netip.AddrPortFrom(a, d.addr.Port()), d.protocol})
		}
	}
	return all
}

// unusedPort returns a destination that no Service of a test has.
func unusedPort(addr netip.Addr) destination {
	return destination{netip.AddrPortFrom(addr, 1), "TCP"}
}

// outcome returns what happens to a probe.
func (m *Model) outcome(d destination, c client) string {
	f := m.frontends[d]
	if f == nil && slices.Contains(m.nodePortAddrs, d.addr.Addr()) {
		unspecified := netip.IPv4Unspecified()
		if d.addr.Addr().Is6() {
			unspecified = netip.IPv6Unspecified()
		}
		f = m.frontends[destination{netip.AddrPortFrom(unspecified, d.addr.Port()), d.protocol}]
	}
	switch {
	case f == nil && m.clusterIPs[d.addr.Addr()]:
		return outcomeReject
	case f == nil && contains(m.networks, d.addr.Addr()) && !slices.Contains(m.node.Addrs, d.addr.Addr()):
		return outcomeDrop
	case f == nil:
		return outcomeNone
	case f.ranges != nil && !contains(f.ranges, c.addr):
		return outcomeDrop
	case contains(m.node.PodNetworks, c.addr):
		return f.pod.String()
	case slices.Contains(m.node.Addrs, c.addr):
		return f.node.String()
	}
	return f.other.String()
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(a) })
}
