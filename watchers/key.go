// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"cmp"
	"strings"

	"sigs.k8s.io/kpng/internal/pointermap"
)

// A Kind is the kind of an object.
type Kind uint8

// The kinds of objects. Keys are ordered by kind.
const (
	KindSynced Kind = iota // the marker that the store is synced, which is never deleted
	KindNode
	KindService
	KindEndpointSlice
	KindServiceCIDR
)

// A Key identifies an object. The EndpointSlices of one Service are adjacent in key order.
type Key struct {
	Kind Kind
	// Namespace and Name are those of the Service; for an EndpointSlice, of the Service that
	// it belongs to. Nodes and ServiceCIDRs have only a Name.
	Namespace, Name string
	// Slice is the name of an EndpointSlice, whose namespace is that of its Service.
	Slice string
	// Origin is [ServiceName].Origin of the Service.
	Origin string
}

// Compare orders by kind, namespace, name, origin and slice.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), strings.Compare(k.Namespace, o.Namespace),
		strings.Compare(k.Name, o.Name), strings.Compare(k.Origin, o.Origin), strings.Compare(k.Slice, o.Slice))
}

// Service returns the name of the Service, or of the Service that an EndpointSlice belongs
// to.
func (k Key) Service() ServiceName {
	return ServiceName{Namespace: k.Namespace, Name: k.Name, Origin: k.Origin}
}

// ServiceKey returns the key of a Service.
func ServiceKey(name ServiceName) Key {
	return Key{Kind: KindService, Namespace: name.Namespace, Name: name.Name, Origin: name.Origin}
}

// NodeKey returns the key of a Node.
func NodeKey(name string) Key { return Key{Kind: KindNode, Name: name} }

// serviceCIDRKey returns the key of a ServiceCIDR.
func serviceCIDRKey(name string) Key { return Key{Kind: KindServiceCIDR, Name: name} }

// A sliceID identifies an EndpointSlice: its namespace and name, and the origin of its Service,
// so that slices of different origins coexist like their Services.
type sliceID struct{ namespace, name, origin string }

// A sliceMap holds EndpointSlices by their identity.
type sliceMap = pointermap.Map[sliceID, EndpointSlice]

// id returns the identity of s.
func (s *EndpointSlice) id() sliceID { return sliceID{s.Namespace, s.Name, s.Service.Origin} }

// key returns the key of the slice while it belongs to the given Service.
func (id sliceID) key(service string) Key {
	return Key{Kind: KindEndpointSlice, Namespace: id.namespace, Name: service, Slice: id.name, Origin: id.origin}
}

// slice returns the identity of the EndpointSlice with the given key.
func (k Key) slice() sliceID { return sliceID{k.Namespace, k.Slice, k.Origin} }
