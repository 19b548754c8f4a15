// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import "net/netip"

// A Node is the part of a Kubernetes Node that a proxy reads.
type Node struct {
	Name string
	// IPs lists the addresses of type InternalIP in order, then those of type ExternalIP.
	IPs      []netip.Addr
	PodCIDRs []netip.Prefix
	// Zone is the label topology.kubernetes.io/zone.
	Zone string
	// Deleting reports whether the node is being deleted, or marked for deletion by the
	// cluster autoscaler. It is then not eligible for load balancers.
	Deleting bool
	// Problems lists the invalid fields.
	Problems []Problem
	// Extensions lists the vendor-specific properties of the node.
	Extensions Extensions
}
