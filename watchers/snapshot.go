// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"iter"

	"sigs.k8s.io/kpng/diffstore"
)

// A Snapshot is an immutable version of the cluster state. All its methods may be called
// concurrently.
type Snapshot struct {
	*diffstore.Snapshot[Key, Object]
}

// Synced reports whether the store was synced; see [Watcher].
func (s Snapshot) Synced() bool {
	_, ok := s.Get(Key{Kind: KindSynced})
	return ok
}

// Service returns the Service with the given name, or nil.
func (s Snapshot) Service(name ServiceName) *Service {
	o, _ := s.Get(ServiceKey(name))
	svc, _ := o.(*Service)
	return svc
}

// Node returns the Node with the given name, or nil.
func (s Snapshot) Node(name string) *Node {
	o, _ := s.Get(NodeKey(name))
	n, _ := o.(*Node)
	return n
}

// Services yields all Services in name order.
func (s Snapshot) Services() iter.Seq[*Service] { return objects[*Service](s, KindService) }

// Nodes yields all Nodes in name order.
func (s Snapshot) Nodes() iter.Seq[*Node] { return objects[*Node](s, KindNode) }

// ServiceCIDRs yields all ServiceCIDRs in name order.
func (s Snapshot) ServiceCIDRs() iter.Seq[*ServiceCIDR] {
	return objects[*ServiceCIDR](s, KindServiceCIDR)
}

// objects yields all objects of a kind, whose type is T, in key order.
func objects[T Object](s Snapshot, kind Kind) iter.Seq[T] {
	return func(yield func(T) bool) {
		for k, o := range s.From(Key{Kind: kind}) {
			if object, ok := o.(T); k.Kind != kind || !ok || !yield(object) {
				return
			}
		}
	}
}

// EndpointSlices yields the EndpointSlices of a Service in name order, even if there is no
// such Service.
func (s Snapshot) EndpointSlices(name ServiceName) iter.Seq[*EndpointSlice] {
	return func(yield func(*EndpointSlice) bool) {
		from := Key{Kind: KindEndpointSlice, Namespace: name.Namespace, Name: name.Name, Origin: name.Origin}
		for k, o := range s.From(from) {
			slice, ok := o.(*EndpointSlice)
			if !ok || k.Kind != KindEndpointSlice || k.Service() != name || !yield(slice) {
				return
			}
		}
	}
}
