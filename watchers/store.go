// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers

import (
	"cmp"
	"context"
	"iter"
	"strings"

	"sigs.k8s.io/kpng/diffstore"
)

// A Watcher brings facts from somewhere into a [Store].
type Watcher interface {
	// Run keeps store in line with the watcher's source until ctx is done, and
	// then returns nil. It calls [Tx.SetSynced] once the store holds all that the
	// source had at the beginning, even when that is nothing, and never takes back
	// what it has learnt because the source is out of reach for a while. An error
	// means that the watcher cannot go on. Run may be called again after it has
	// returned; calls must not overlap. A store has one watcher.
	Run(ctx context.Context, store *Store) error
}

// Func adapts a function to a [Watcher].
type Func func(ctx context.Context, store *Store) error

// Run calls f.
func (f Func) Run(ctx context.Context, store *Store) error { return f(ctx, store) }

// A Kind is a kind of fact.
type Kind uint8

// The kinds of facts, in the order in which a Store keeps them.
const (
	KindSynced Kind = iota // the marker that the store is complete; never deleted
	KindNode
	KindService
	KindEndpointSlice
	KindServiceCIDR
)

// A Key names a fact. Slices sort by their Service, so what belongs to one Service
// is a contiguous range.
type Key struct {
	Kind Kind
	// Namespace and Name are those of the Service, also for its slices; a node and a
	// ServiceCIDR have only a Name.
	Namespace, Name string
	// Slice is the name of a slice.
	Slice string
}

// Compare orders keys by kind, namespace, name and slice.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), strings.Compare(k.Namespace, o.Namespace),
		strings.Compare(k.Name, o.Name), strings.Compare(k.Slice, o.Slice))
}

// Service returns the Service that the key is about.
func (k Key) Service() ServiceName { return ServiceName{Namespace: k.Namespace, Name: k.Name} }

// ServiceKey returns the key of a Service.
func ServiceKey(name ServiceName) Key {
	return Key{Kind: KindService, Namespace: name.Namespace, Name: name.Name}
}

// NodeKey returns the key of a node.
func NodeKey(name string) Key { return Key{Kind: KindNode, Name: name} }

// ServiceCIDRKey returns the key of a ServiceCIDR.
func ServiceCIDRKey(name string) Key { return Key{Kind: KindServiceCIDR, Name: name} }

// A Object is a *Service, *EndpointSlice, *Node or *ServiceCIDR, or the marker of
// completeness.
type Object interface{ hash(h *diffstore.Hash) }

type synced struct{}

func (synced) hash(*diffstore.Hash) {}

// A Store keeps the facts of one cluster. Any number of goroutines may use one.
type Store struct {
	facts *diffstore.Store[Key, Object]
	// owners tells which Service a slice was labelled with when it was set, by the
	// slice's own name. Only transactions touch it.
	owners map[sliceName]string
}

type sliceName struct{ namespace, name string }

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{
		facts:  diffstore.New(Key.Compare, func(h *diffstore.Hash, f Object) { f.hash(h) }),
		owners: map[sliceName]string{},
	}
}

// Update runs fn and publishes all its changes at once. Facts given to fn's
// transaction belong to the store and must not be written to any more.
func (s *Store) Update(fn func(tx *Tx)) Snapshot {
	return Snapshot{s.facts.Update(func(tx *diffstore.Tx[Key, Object]) { fn(&Tx{tx, s.owners}) })}
}

// Snapshot returns the present facts, in constant time and without a lock.
func (s *Store) Snapshot() Snapshot { return Snapshot{s.facts.Snapshot()} }

// Reader returns a reader of what changes; see [diffstore.Reader].
func (s *Store) Reader() *diffstore.Reader[Key, Object] { return s.facts.Reader() }

// A Tx changes a store within [Store.Update].
type Tx struct {
	tx     *diffstore.Tx[Key, Object]
	owners map[sliceName]string
}

// SetSynced marks the store as complete. There is no way back.
func (tx *Tx) SetSynced() { tx.tx.Set(Key{Kind: KindSynced}, synced{}) }

// SetService adds or replaces a Service.
func (tx *Tx) SetService(s *Service) { tx.tx.Set(ServiceKey(s.Name), s) }

// DeleteService removes a Service; one that is not there is fine.
func (tx *Tx) DeleteService(name ServiceName) { tx.tx.Delete(ServiceKey(name)) }

// SetEndpointSlice adds or replaces a slice, also when it has moved to another
// Service.
func (tx *Tx) SetEndpointSlice(s *EndpointSlice) {
	id := sliceName{s.Namespace, s.Name}
	if owner, ok := tx.owners[id]; ok && owner != s.Service.Name {
		tx.DeleteEndpointSlice(s.Namespace, s.Name)
	}
	tx.owners[id] = s.Service.Name
	tx.tx.Set(sliceKey(id, s.Service.Name), s)
}

// DeleteEndpointSlice removes a slice; one that is not there is fine.
func (tx *Tx) DeleteEndpointSlice(namespace, name string) {
	id := sliceName{namespace, name}
	if owner, ok := tx.owners[id]; ok {
		tx.tx.Delete(sliceKey(id, owner))
		delete(tx.owners, id)
	}
}

func sliceKey(id sliceName, service string) Key {
	return Key{Kind: KindEndpointSlice, Namespace: id.namespace, Name: service, Slice: id.name}
}

// SetNode adds or replaces a node.
func (tx *Tx) SetNode(n *Node) { tx.tx.Set(NodeKey(n.Name), n) }

// DeleteNode removes a node; one that is not there is fine.
func (tx *Tx) DeleteNode(name string) { tx.tx.Delete(NodeKey(name)) }

// SetServiceCIDR adds or replaces a ServiceCIDR.
func (tx *Tx) SetServiceCIDR(c *ServiceCIDR) { tx.tx.Set(ServiceCIDRKey(c.Name), c) }

// DeleteServiceCIDR removes a ServiceCIDR; one that is not there is fine.
func (tx *Tx) DeleteServiceCIDR(name string) { tx.tx.Delete(ServiceCIDRKey(name)) }

// Set adds or replaces a fact of any kind, and returns its key. It does nothing for nil
// and for the marker of completeness.
func (tx *Tx) Set(fact Object) Key {
	switch f := fact.(type) {
	case *Service:
		tx.SetService(f)
		return ServiceKey(f.Name)
	case *EndpointSlice:
		tx.SetEndpointSlice(f)
		return sliceKey(sliceName{f.Namespace, f.Name}, f.Service.Name)
	case *Node:
		tx.SetNode(f)
		return NodeKey(f.Name)
	case *ServiceCIDR:
		tx.SetServiceCIDR(f)
		return ServiceCIDRKey(f.Name)
	}
	return Key{}
}

// Delete removes the fact of a key; one that is not there is fine.
func (tx *Tx) Delete(k Key) {
	switch k.Kind {
	case KindService:
		tx.DeleteService(k.Service())
	case KindEndpointSlice:
		tx.DeleteEndpointSlice(k.Namespace, k.Slice)
	case KindNode:
		tx.DeleteNode(k.Name)
	case KindServiceCIDR:
		tx.DeleteServiceCIDR(k.Name)
	}
}

// RetainAll deletes every fact of any kind that keep does not want.
func (tx *Tx) RetainAll(keep func(Key) bool) {
	for _, kind := range []Kind{KindNode, KindService, KindEndpointSlice, KindServiceCIDR} {
		tx.Retain(kind, keep)
	}
}

// Retain deletes every fact of a kind that keep does not want: the second half of
// replacing all of them. keep must not write to the transaction.
func (tx *Tx) Retain(kind Kind, keep func(Key) bool) {
	var gone []Key
	tx.tx.Ascend(Key{Kind: kind}, func(k Key, _ Object) bool {
		if k.Kind == kind && !keep(k) {
			gone = append(gone, k)
		}
		return k.Kind == kind
	})
	for _, k := range gone {
		tx.tx.Delete(k)
		if kind == KindEndpointSlice {
			delete(tx.owners, sliceName{k.Namespace, k.Slice})
		}
	}
}

// A Snapshot is the facts of one moment. It never changes.
type Snapshot struct {
	*diffstore.Snapshot[Key, Object]
}

// Synced reports whether the facts were complete.
func (s Snapshot) Synced() bool {
	_, ok := s.Get(Key{Kind: KindSynced})
	return ok
}

// Service returns a Service, or nil.
func (s Snapshot) Service(name ServiceName) *Service {
	f, _ := s.Get(ServiceKey(name))
	svc, _ := f.(*Service)
	return svc
}

// Node returns a node, or nil.
func (s Snapshot) Node(name string) *Node {
	f, _ := s.Get(NodeKey(name))
	n, _ := f.(*Node)
	return n
}

// Services yields all Services in name order.
func (s Snapshot) Services() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		for k, f := range s.From(Key{Kind: KindService}) {
			if svc, ok := f.(*Service); k.Kind != KindService || !ok || !yield(svc) {
				return
			}
		}
	}
}

// Nodes yields all nodes in name order.
func (s Snapshot) Nodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for k, f := range s.From(Key{Kind: KindNode}) {
			if n, ok := f.(*Node); k.Kind != KindNode || !ok || !yield(n) {
				return
			}
		}
	}
}

// ServiceCIDRs yields all ServiceCIDRs in name order.
func (s Snapshot) ServiceCIDRs() iter.Seq[*ServiceCIDR] {
	return func(yield func(*ServiceCIDR) bool) {
		for k, f := range s.From(Key{Kind: KindServiceCIDR}) {
			if c, ok := f.(*ServiceCIDR); k.Kind != KindServiceCIDR || !ok || !yield(c) {
				return
			}
		}
	}
}

// EndpointSlices yields the slices of one Service in the order of their names,
// whether or not there is such a Service.
func (s Snapshot) EndpointSlices(name ServiceName) iter.Seq[*EndpointSlice] {
	return func(yield func(*EndpointSlice) bool) {
		from := Key{Kind: KindEndpointSlice, Namespace: name.Namespace, Name: name.Name}
		for k, f := range s.From(from) {
			slice, ok := f.(*EndpointSlice)
			if !ok || k.Kind != KindEndpointSlice || k.Service() != name || !yield(slice) {
				return
			}
		}
	}
}
