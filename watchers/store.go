// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"sigs.k8s.io/kpng/diffstore"
	"sigs.k8s.io/kpng/internal/pointermap"
)

// A Store holds the versioned state of one cluster. All its methods may be called
// concurrently.
type Store struct {
	objects *diffstore.Store[Key, Object]
	// slices holds the EndpointSlices of the store by their identity, because their keys also
	// have the Service that they belong to. Only transactions use it.
	slices *sliceMap
	// updated is called after each Update, without a lock. It is nil except in the stores
	// of joined sources.
	updated func()
}

// NewStore returns an empty store, which is not synced.
func NewStore() *Store {
	return &Store{
		objects: diffstore.New(Key.Compare, func(h *diffstore.Hash, o Object) { o.hash(h) }),
		slices:  pointermap.New((*EndpointSlice).id),
	}
}

// Update runs fn, publishes all its changes as one snapshot and returns that snapshot. If
// fn changes nothing, Update returns the current snapshot. Objects that fn sets must not be
// modified afterwards. fn must not call Update of the same store.
func (s *Store) Update(fn func(tx *Tx)) Snapshot {
	snapshot := Snapshot{s.objects.Update(func(tx *diffstore.Tx[Key, Object]) { fn(&Tx{tx, s.slices}) })}
	if s.updated != nil {
		s.updated()
	}
	return snapshot
}

// Snapshot returns the current cluster state, in constant time and without a lock.
func (s *Store) Snapshot() Snapshot { return Snapshot{s.objects.Snapshot()} }

// Reader returns a reader of the changes; see [diffstore.Reader]. It must be closed.
func (s *Store) Reader() *diffstore.Reader[Key, Object] { return s.objects.Reader() }

// A Tx changes a store within [Store.Update]. Deleting an object that does not exist has no
// effect.
type Tx struct {
	tx     *diffstore.Tx[Key, Object]
	slices *sliceMap
}

// SetSynced marks the store as synced. A store stays synced.
func (tx *Tx) SetSynced() { tx.tx.Set(Key{Kind: KindSynced}, syncedMarker{}) }

// SetService adds or replaces a Service. It ignores nil. If a value of s is invalid, the
// store gets a copy of s without it and with a Problem; the same holds for the other objects.
func (tx *Tx) SetService(s *Service) {
	if s != nil {
		tx.tx.Set(ServiceKey(s.Name), s.valid())
	}
}

// DeleteService deletes a Service.
func (tx *Tx) DeleteService(name ServiceName) { tx.tx.Delete(ServiceKey(name)) }

// SetEndpointSlice adds or replaces an EndpointSlice, even if its Service has changed.
func (tx *Tx) SetEndpointSlice(s *EndpointSlice) {
	if s == nil {
		return
	}
	tx.setSlice(s.id().key(s.Service.Name), s.valid())
}

// setSlice adds or replaces an EndpointSlice that is valid, under its key.
func (tx *Tx) setSlice(key Key, s *EndpointSlice) {
	if old := tx.slices.Get(key.slice()); old != nil && old.Service.Name != key.Name {
		tx.deleteSlice(key.slice())
	}
	if tx.tx.Set(key, s) {
		tx.slices.Set(s)
	}
}

// DeleteEndpointSlice deletes an EndpointSlice of a Service. [Tx.Delete] also deletes those of
// other origins.
func (tx *Tx) DeleteEndpointSlice(namespace, name string) {
	tx.deleteSlice(sliceID{namespace: namespace, name: name})
}

func (tx *Tx) deleteSlice(id sliceID) {
	if s := tx.slices.Get(id); s != nil {
		tx.tx.Delete(id.key(s.Service.Name))
		tx.slices.Delete(id)
	}
}

// SetNode adds or replaces a Node.
func (tx *Tx) SetNode(n *Node) {
	if n != nil {
		tx.tx.Set(NodeKey(n.Name), n.valid())
	}
}

// DeleteNode deletes a Node.
func (tx *Tx) DeleteNode(name string) { tx.tx.Delete(NodeKey(name)) }

// SetServiceCIDR adds or replaces a ServiceCIDR.
func (tx *Tx) SetServiceCIDR(c *ServiceCIDR) {
	if c != nil {
		tx.tx.Set(serviceCIDRKey(c.Name), c.valid())
	}
}

// DeleteServiceCIDR deletes a ServiceCIDR.
func (tx *Tx) DeleteServiceCIDR(name string) { tx.tx.Delete(serviceCIDRKey(name)) }

// Set adds or replaces an object of any kind and returns its key. It ignores nil and the
// marker of [Tx.SetSynced], for which it returns the zero Key.
func (tx *Tx) Set(object Object) Key {
	switch o := object.(type) {
	case *Service:
		if o != nil {
			tx.SetService(o)
			return ServiceKey(o.Name)
		}
	case *EndpointSlice:
		if o != nil {
			tx.SetEndpointSlice(o)
			return o.id().key(o.Service.Name)
		}
	case *Node:
		if o != nil {
			tx.SetNode(o)
			return NodeKey(o.Name)
		}
	case *ServiceCIDR:
		if o != nil {
			tx.SetServiceCIDR(o)
			return serviceCIDRKey(o.Name)
		}
	}
	return Key{}
}

// Delete deletes the object with the given key. It ignores the key of the synced marker.
func (tx *Tx) Delete(k Key) {
	switch k.Kind {
	case KindService:
		tx.DeleteService(k.Service())
	case KindEndpointSlice:
		tx.deleteSlice(k.slice())
	case KindNode:
		tx.DeleteNode(k.Name)
	case KindServiceCIDR:
		tx.DeleteServiceCIDR(k.Name)
	case KindSynced:
	}
}

// RetainAll deletes the objects of all kinds for which keep returns false. keep must not
// use the transaction.
func (tx *Tx) RetainAll(keep func(Key) bool) {
	for _, kind := range []Kind{KindNode, KindService, KindEndpointSlice, KindServiceCIDR} {
		tx.Retain(kind, keep)
	}
}

// Retain deletes the objects of one kind for which keep returns false. Together with the
// Set methods, it replaces all objects of a kind. keep must not use the transaction.
func (tx *Tx) Retain(kind Kind, keep func(Key) bool) {
	var stale []Key
	tx.tx.Ascend(Key{Kind: kind}, func(k Key, _ Object) bool {
		if k.Kind == kind && !keep(k) {
			stale = append(stale, k)
		}
		return k.Kind == kind
	})
	for _, k := range stale {
		tx.tx.Delete(k)
		if kind == KindEndpointSlice {
			tx.slices.Delete(k.slice())
		}
	}
}
