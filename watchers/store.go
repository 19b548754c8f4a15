// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import "sigs.k8s.io/kpng/diffstore"

// A Store holds the versioned state of one cluster. All its methods may be called
// concurrently.
type Store struct {
	objects *diffstore.Store[Key, Object]
	// serviceOf holds the name of the Service that each EndpointSlice in the store belongs
	// to, which is part of its key. Only transactions use it.
	serviceOf map[sliceID]string
	// updated is called after each Update, without a lock. It is nil except in the stores
	// of joined sources.
	updated func()
}

// NewStore returns an empty store, which is not synced.
func NewStore() *Store {
	return &Store{
		objects:   diffstore.New(Key.Compare, func(h *diffstore.Hash, o Object) { o.hash(h) }),
		serviceOf: map[sliceID]string{},
	}
}

// Update runs fn, publishes all its changes as one snapshot and returns that snapshot. If
// fn changes nothing, Update returns the current snapshot. Objects that fn sets must not be
// modified afterwards. fn must not call Update of the same store.
func (s *Store) Update(fn func(tx *Tx)) Snapshot {
	snapshot := Snapshot{s.objects.Update(func(tx *diffstore.Tx[Key, Object]) { fn(&Tx{tx, s.serviceOf}) })}
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
	tx        *diffstore.Tx[Key, Object]
	serviceOf map[sliceID]string
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
	id := sliceID{s.Namespace, s.Name, s.Service.Origin}
	if service, ok := tx.serviceOf[id]; ok && service != s.Service.Name {
		tx.deleteSlice(id)
	}
	tx.serviceOf[id] = s.Service.Name
	tx.tx.Set(id.key(s.Service.Name), s.valid())
}

// DeleteEndpointSlice deletes an EndpointSlice of a Service. [Tx.Delete] also deletes those of
// other origins.
func (tx *Tx) DeleteEndpointSlice(namespace, name string) {
	tx.deleteSlice(sliceID{namespace: namespace, name: name})
}

func (tx *Tx) deleteSlice(id sliceID) {
	if service, ok := tx.serviceOf[id]; ok {
		tx.tx.Delete(id.key(service))
		delete(tx.serviceOf, id)
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
			return sliceID{o.Namespace, o.Name, o.Service.Origin}.key(o.Service.Name)
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
			delete(tx.serviceOf, k.slice())
		}
	}
}
