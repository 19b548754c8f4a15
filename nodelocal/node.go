// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodelocal

import (
	"net/netip"
	"slices"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal/overlay"
	"sigs.k8s.io/kpng/watchers"
)

// A nodeState is what the result for a Service depends on beside the Service.
type nodeState struct {
	node *localsink.Node
	zone string
}

// nodeState returns the state of the node of cfg. A node that the snapshot does not have
// counts as being deleted, and otherwise remains as it is known.
func (cfg *Config) nodeState(snapshot watchers.Snapshot) *nodeState {
	object := snapshot.Node(cfg.NodeName)
	known := cfg.KnownNode.complete(object)
	ips := nodeIPs(known, cfg.NodeIP)
	n := &nodeState{node: &localsink.Node{
		Name:              cfg.NodeName,
		IPs:               ips,
		LocalPods:         cfg.LocalPods.sources(known),
		NodePortAddresses: cfg.nodePorts.Networks(ips),
		LoopbackNodePorts: cfg.nodePorts.Loopback(),
		ServiceNetworks:   serviceNetworks(snapshot),
		NoMasquerade:      cfg.NoMasquerade,
		Deleting:          object == nil || object.Deleting,
	}}
	if known != nil {
		n.zone, n.node.Extensions = known.Zone, known.Extensions
	}
	return n
}

func (n *nodeState) equal(o *nodeState) bool { return n.zone == o.zone && n.node.Equal(o.node) }

// assemble returns the desired state of a Service on the node.
func (n *nodeState) assemble(svc *ResolvedService, buffer *[]overlay.Endpoint) *localsink.Service {
	base, used := svc.newBase(svc.baseZone(n.zone), (*buffer)[:0])
	*buffer = used
	return overlay.Assemble(base, svc.newOverlay(n.node.Name), n.node)
}

// nodeIPs returns the addresses of a node: at most one per family, the primary one first. A
// specific bind address replaces the Node object's address of its family and makes that
// family the primary one.
func nodeIPs(object *watchers.Node, bind netip.Addr) []netip.Addr {
	var candidates, ips []netip.Addr
	if bind.IsValid() && !bind.IsUnspecified() {
		candidates = append(candidates, bind.Unmap())
	}
	if object != nil {
		candidates = append(candidates, object.IPs...)
	}
	for _, ip := range candidates {
		sameFamily := func(o netip.Addr) bool { return o.Is4() == ip.Is4() }
		if !slices.ContainsFunc(ips, sameFamily) {
			ips = append(ips, ip)
		}
	}
	return ips
}

// serviceNetworks returns the networks of all ServiceCIDRs, each once.
func serviceNetworks(snapshot watchers.Snapshot) []netip.Prefix {
	var all []netip.Prefix
	for object := range snapshot.ServiceCIDRs() {
		for _, network := range object.Networks {
			all = append(all, network.Masked())
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return slices.Compact(all)
}
