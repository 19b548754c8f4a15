// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"net/netip"

	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/localsink"
)

// Types that the cluster state shares with the desired state of a node.
type (
	// ServiceName is the namespace and name of a Service.
	ServiceName = localsink.ServiceName
	// Protocol is a transport protocol.
	Protocol = localsink.Protocol
	// Extensions is a list of vendor-specific properties of an object.
	Extensions = localsink.Extensions
	// Problem is an invalid or unsupported field of a Kubernetes object.
	Problem = localsink.Problem
)

// An Object is an item of the cluster state: a *Service, *EndpointSlice, *Node or
// *ServiceCIDR, or the marker that the store is synced.
type Object interface{ hash(h *diffstore.Hash) }

// syncedMarker is the object with KindSynced.
type syncedMarker struct{}

func (syncedMarker) hash(*diffstore.Hash) {}

// An IPFamily is 4 or 6. Zero stands for an unknown family.
type IPFamily uint8

// The address families.
const (
	FamilyIPv4 IPFamily = 4
	FamilyIPv6 IPFamily = 6
)

// FamilyOf returns the family of an address, and 0 for the zero Addr.
func FamilyOf(a netip.Addr) IPFamily {
	switch {
	case a.Is4():
		return FamilyIPv4
	case a.Is6():
		return FamilyIPv6
	}
	return 0
}
