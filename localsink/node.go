// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localsink

import (
	"net/netip"
	"slices"
)

// A Node is the desired state of the node itself.
type Node struct {
	Name string
	// IPs lists the addresses of the node, the primary address first.
	IPs []netip.Addr
	// LocalPods describes which packets come from pods of this node.
	LocalPods PodSources
	// NodePortAddresses lists the networks whose addresses accept node port traffic: those
	// addresses in them that the node has when a packet arrives, except loopback addresses.
	// A family without networks has no node ports.
	NodePortAddresses []netip.Prefix
	// LoopbackNodePorts lists loopback addresses, at most one per family, that accept
	// traffic to TCP node ports as well. Only processes of the node can reach them, and they
	// match as [FromThisNode]. Connections are masqueraded, and rejected without endpoints,
	// whatever the route requires. Kernels route such packets poorly, so a separate sink often does
	// this; without one, connections to node ports on loopback addresses are rejected.
	LoopbackNodePorts []netip.Addr
	// ServiceNetworks lists the networks from which cluster IPs are allocated. Packets to an
	// address in them without a frontend are dropped, unless it is an address of the node.
	ServiceNetworks []netip.Prefix
	// NoMasquerade lists the networks of clients that [Route.Masquerade] does not apply to.
	// Hairpin connections and those to LoopbackNodePorts are masqueraded nevertheless.
	NoMasquerade []netip.Prefix
	// Deleting reports whether the node does not exist, or is being deleted or marked for
	// it. Load balancers should send it no new connections, so health checks fail. A
	// dataplane ignores it and serves the remaining traffic.
	Deleting bool
	// Extensions lists the vendor-specific properties of the node.
	Extensions Extensions
}

// Equal reports whether n and o have the same content.
func (n *Node) Equal(o *Node) bool {
	return n.Name == o.Name && slices.Equal(n.IPs, o.IPs) && n.LocalPods.Equal(&o.LocalPods) &&
		slices.Equal(n.NodePortAddresses, o.NodePortAddresses) && slices.Equal(n.LoopbackNodePorts, o.LoopbackNodePorts) &&
		slices.Equal(n.ServiceNetworks, o.ServiceNetworks) && slices.Equal(n.NoMasquerade, o.NoMasquerade) &&
		n.Deleting == o.Deleting && n.Extensions.Equal(o.Extensions)
}

// AddressesIn returns those of addrs that one of the networks contains, sorted and without
// duplicates. IPv4 addresses in IPv6 form count as IPv4; the zone of an address is ignored
// and kept. For [Node.NodePortAddresses] and the addresses of the node's interfaces, the
// result are the addresses at which packets can match a node port, and loopback addresses.
func AddressesIn(networks []netip.Prefix, addrs []netip.Addr) []netip.Addr {
	var all []netip.Addr
	for _, a := range addrs {
		a = a.Unmap()
		if slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a.WithZone("")) }) {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// PodSources describes packets that come from pods of a node. A packet matches if one of
// the fields does; the zero value matches no packet.
type PodSources struct {
	// Networks match the source address.
	Networks []netip.Prefix
	// Interface matches the name of the input interface; empty matches none.
	Interface string
	// InterfacePrefix matches the beginning of the name of the input interface; empty
	// matches none.
	InterfacePrefix string
}

// Equal reports whether p and o have the same content.
func (p *PodSources) Equal(o *PodSources) bool {
	return slices.Equal(p.Networks, o.Networks) && p.Interface == o.Interface && p.InterfacePrefix == o.InterfacePrefix
}
