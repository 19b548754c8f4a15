// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"log/slog"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A mirror is the store of one reflector: it writes what it gets into a
// watchers.Store and keeps nothing itself. One goroutine uses it.
type mirror struct {
	source *source
	store  *watchers.Store
	filter kubeapi.Filter
	logger *slog.Logger
	// pending are the kinds that have not been listed yet. It is shared by the
	// mirrors of one run; only transactions touch it, as these do not overlap.
	pending map[watchers.Kind]bool
}

var _ cache.TransformingStore = (*mirror)(nil)

// An item is what an object comes to.
type item struct {
	namespace, name string
	fact            watchers.Object // nil when there is to be no such fact
}

// Transformer makes items of the objects of a streamed list as they come in, so that
// the list is never in memory as API objects.
func (m *mirror) Transformer() cache.TransformFunc {
	return func(object any) (any, error) { return m.read(object), nil }
}

// read makes an item of an API object, or returns the item that it is already; nil
// stands for objects of a kind that was not asked for.
func (m *mirror) read(object any) *item {
	if it, ok := object.(*item); ok {
		return it
	}
	named, err := meta.Accessor(object)
	if err != nil {
		m.logger.Warn("not an API object; ignored", "kind", m.source.resource, "err", err)
		return nil
	}
	fact, err := m.filter.Object(object)
	if err != nil {
		m.logger.Warn("cannot use an object", "kind", m.source.resource, "err", err)
	}
	return &item{namespace: named.GetNamespace(), name: named.GetName(), fact: fact}
}

// Add is Update.
func (m *mirror) Add(object any) error { return m.Update(object) }

// Update sets the fact of an object, or removes it when the object has come to be
// none of ours.
func (m *mirror) Update(object any) error {
	if it := m.read(object); it != nil {
		m.store.Update(func(tx *watchers.Tx) {
			if it.fact == nil {
				m.remove(tx, it.namespace, it.name)
				return
			}
			tx.Set(it.fact)
		})
	}
	return nil
}

// Delete removes the fact of an object, or of a tombstone.
func (m *mirror) Delete(object any) error {
	namespace, name := "", ""
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		var err error
		if namespace, name, err = cache.SplitMetaNamespaceKey(tombstone.Key); err != nil {
			m.logger.Warn("cannot read a tombstone; ignored", "kind", m.source.resource, "err", err)
			return nil
		}
	} else if named, err := meta.Accessor(object); err == nil {
		namespace, name = named.GetNamespace(), named.GetName()
	} else {
		m.logger.Warn("not an API object; ignored", "kind", m.source.resource, "err", err)
		return nil
	}
	m.store.Update(func(tx *watchers.Tx) { m.remove(tx, namespace, name) })
	return nil
}

func (m *mirror) remove(tx *watchers.Tx, namespace, name string) {
	switch m.source.kind {
	case watchers.KindService:
		tx.DeleteService(watchers.ServiceName{Namespace: namespace, Name: name})
	case watchers.KindEndpointSlice:
		tx.DeleteEndpointSlice(namespace, name)
	case watchers.KindNode:
		tx.DeleteNode(name)
	case watchers.KindServiceCIDR:
		tx.DeleteServiceCIDR(name)
	}
}

// Replace makes the facts of the list all that there are of the kind. It takes over
// the list, and lets go of each object when it is read.
func (m *mirror) Replace(list []any, _ string) error {
	for i, object := range list {
		list[i] = m.read(object)
	}
	m.store.Update(func(tx *watchers.Tx) {
		keep := make(map[watchers.Key]struct{}, len(list))
		for _, entry := range list {
			if it, _ := entry.(*item); it != nil && it.fact != nil {
				keep[tx.Set(it.fact)] = struct{}{}
			}
		}
		tx.Retain(m.source.kind, func(k watchers.Key) bool {
			_, ok := keep[k]
			return ok
		})
		delete(m.pending, m.source.kind)
		if len(m.pending) == 0 {
			tx.SetSynced()
		}
	})
	return nil
}

// Resync does nothing: the store has nobody to remind.
func (m *mirror) Resync() error { return nil }
