// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// A Cluster holds the API objects that matter to a proxy.
type Cluster struct {
	Services []corev1.Service
	Slices   []discoveryv1.EndpointSlice
	Nodes    []corev1.Node
	// ServiceNetworks are the networks of all ServiceCIDRs.
	ServiceNetworks []netip.Prefix
}

// A Node is a node and how its proxy is configured.
type Node struct {
	Name string
	// Addrs are all addresses of the node's interfaces that clients may dial.
	Addrs []netip.Addr
	// PodNetworks are the networks that identify pods of the node.
	PodNetworks []netip.Prefix
}

// Client addresses outside of the cluster. Only the first of each family is in the source ranges
// that [PermittedRanges] returns.
const (
	permitted4, outside4 = "198.51.100.7", "198.51.100.207"
	permitted6, outside6 = "2001:db8:100::7", "2001:db8:100::1:7"
)

// PermittedRanges returns source ranges that permit one of the two clients outside of the cluster.
func PermittedRanges() []string { return []string{"198.51.100.0/25", "2001:db8:100::/112"} }

// A client is the source of probes.
type client struct {
	name string
	addr netip.Addr
}

// clients returns the clients of an address family.
func (n *Node) clients(is4 bool) (all []client) {
	for _, p := range n.PodNetworks {
		if p.Addr().Is4() == is4 {
			all = append(all, client{"pod", lastByte(p.Addr(), 250)})
			break
		}
	}
	if i := slices.IndexFunc(n.Addrs, func(a netip.Addr) bool { return a.Is4() == is4 }); i >= 0 {
		all = append(all, client{"node", n.Addrs[i]})
	}
	permitted, outside := permitted4, outside4
	if !is4 {
		permitted, outside = permitted6, outside6
	}
	return append(all, client{"permitted", netip.MustParseAddr(permitted)}, client{"outside", netip.MustParseAddr(outside)})
}

// lastByte returns an address with another last byte.
func lastByte(a netip.Addr, b byte) netip.Addr {
	bytes := a.AsSlice()
	bytes[len(bytes)-1] = b
	out, _ := netip.AddrFromSlice(bytes)
	return out
}

// A destination is what a client dials.
type destination struct {
	addr     netip.AddrPort
	protocol string // as in the Kubernetes API
}

func (d destination) String() string { return fmt.Sprintf("%s/%s", d.addr, d.protocol) }
