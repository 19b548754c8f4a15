// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/watchers"
)

// taintToBeDeleted is set by the cluster autoscaler on nodes that it will remove.
const taintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// Node makes the fact of a Node.
func Node(n *corev1.Node) *watchers.Node {
	r := &reader{object: "Node " + n.Name}
	out := &watchers.Node{
		Name:     intern(n.Name),
		IPs:      append(r.nodeIPs(n, corev1.NodeInternalIP), r.nodeIPs(n, corev1.NodeExternalIP)...),
		PodCIDRs: r.podCIDRs(&n.Spec),
		Zone:     intern(n.Labels[corev1.LabelTopologyZone]),
		Deleting: leaving(n),
	}
	out.Problems = r.problems
	return out
}

func (r *reader) nodeIPs(n *corev1.Node, kind corev1.NodeAddressType) []netip.Addr {
	var out []netip.Addr
	for i, a := range n.Status.Addresses {
		if a.Type != kind {
			continue
		}
		if ip := r.addr(a.Address, "status.addresses[%d].address", i); ip.IsValid() {
			out = append(out, ip)
		}
	}
	return out
}

// podCIDRs reads spec.podCIDRs, or the single one that older objects have instead.
func (r *reader) podCIDRs(spec *corev1.NodeSpec) []netip.Prefix {
	if len(spec.PodCIDRs) > 0 {
		return r.prefixes(spec.PodCIDRs, "spec.podCIDRs[%d]")
	}
	if p, ok := ParsePrefix(spec.PodCIDR); ok {
		return []netip.Prefix{p}
	}
	if spec.PodCIDR != "" {
		r.problem(spec.PodCIDR, "is not a network in CIDR notation", ignored, "spec.podCIDR")
	}
	return nil
}

func leaving(n *corev1.Node) bool {
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
