// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/valid"
)

// taintToBeDeleted is the taint that the cluster autoscaler sets on a node before it
// removes the node.
const taintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// Node converts a Node. The result has no extensions; see [Converter].
func Node(n *corev1.Node) *watchers.Node {
	p := &fieldParser{object: "Node " + n.Name}
	out := &watchers.Node{
		Name:     intern(n.Name),
		IPs:      append(p.nodeIPs(n, corev1.NodeInternalIP), p.nodeIPs(n, corev1.NodeExternalIP)...),
		PodCIDRs: p.podCIDRs(&n.Spec),
		Zone:     intern(n.Labels[corev1.LabelTopologyZone]),
		Deleting: deleting(n),
	}
	out.Problems = p.problems
	return out
}

func (p *fieldParser) nodeIPs(n *corev1.Node, kind corev1.NodeAddressType) []netip.Addr {
	var out []netip.Addr
	for i, a := range n.Status.Addresses {
		if a.Type != kind {
			continue
		}
		if ip := p.addr(a.Address, valid.NodeAddr, "status.addresses[%d].address", i); ip.IsValid() {
			out = append(out, ip)
		}
	}
	return out
}

// podCIDRs parses spec.podCIDRs, or spec.podCIDR of objects that have only that.
func (p *fieldParser) podCIDRs(spec *corev1.NodeSpec) []netip.Prefix {
	if len(spec.PodCIDRs) > 0 {
		return p.prefixes(spec.PodCIDRs, valid.Network, "spec.podCIDRs[%d]")
	}
	if prefix, ok := ParsePrefix(spec.PodCIDR); ok {
		return []netip.Prefix{prefix}
	}
	if spec.PodCIDR != "" {
		p.invalid(spec.PodCIDR, "is not a network in CIDR notation", ignored, "spec.podCIDR")
	}
	return nil
}

// deleting reports whether the node is being deleted, or about to be by the cluster
// autoscaler.
func deleting(n *corev1.Node) bool {
	if n.DeletionTimestamp != nil {
		return true
	}
	for _, t := range n.Spec.Taints {
		if t.Key == taintToBeDeleted {
			return true
		}
	}
	return false
}
