// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
)

// A storeWriter is the store of one reflector. It converts API objects, writes the
// results into a watchers.Store and keeps no objects itself. Only the goroutine of its
// reflector uses it, except for failed.
type storeWriter struct {
	resource *Resource
	store    *watchers.Store
	logger   *slog.Logger
	// unlisted holds the required kinds without a complete list yet. All storeWriters of a
	// run share it; only transactions of the store access it, and these do not overlap.
	unlisted map[watchers.Kind]bool
}

var _ cache.TransformingStore = (*storeWriter)(nil)

// Store returns a store for one reflector that writes into store, and marks it as synced when
// the resource has been listed. [Run] creates its own.
func (r *Resource) Store(store *watchers.Store, logger *slog.Logger) cache.TransformingStore {
	return &storeWriter{resource: r, store: store, logger: logger, unlisted: map[watchers.Kind]bool{r.Kind: true}}
}

// A converted holds the result of converting one API object.
type converted struct {
	namespace, name string
	object          watchers.Object // nil for an object that is invalid or not selected
}

// Transformer returns the function that converts each object of a streamed list when it
// arrives, so that the API objects of the list are never all in memory.
func (s *storeWriter) Transformer() cache.TransformFunc {
	return func(object any) (any, error) { return s.convert(object), nil }
}

// convert converts an API object. A *converted is returned as it is; a value without
// object metadata gives nil.
func (s *storeWriter) convert(object any) *converted {
	if c, ok := object.(*converted); ok {
		return c
	}
	metadata, err := meta.Accessor(object)
	if err != nil {
		s.logger.Warn("Value is not an API object, ignored", "resource", s.resource.Name, "err", err)
		return nil
	}
	result, err := s.resource.Convert(object)
	if err != nil {
		s.logger.Warn("Object is invalid, ignored", "resource", s.resource.Name, "err", err)
	}
	return &converted{namespace: metadata.GetNamespace(), name: metadata.GetName(), object: result}
}

// Add does the same as Update.
func (s *storeWriter) Add(object any) error { return s.Update(object) }

// Update writes an object into the store, or deletes it there if the filter no longer
// selects it.
func (s *storeWriter) Update(object any) error {
	if c := s.convert(object); c != nil {
		s.store.Update(func(tx *watchers.Tx) {
			if c.object == nil {
				s.resource.Delete(tx, c.namespace, c.name)
				return
			}
			tx.Set(c.object)
		})
	}
	return nil
}

// Delete deletes an object, or the object that a tombstone names.
func (s *storeWriter) Delete(object any) error {
	namespace, name := "", ""
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		var err error
		if namespace, name, err = cache.SplitMetaNamespaceKey(tombstone.Key); err != nil {
			s.logger.Warn("Tombstone key is invalid, ignored", "resource", s.resource.Name, "err", err)
			return nil
		}
	} else if metadata, err := meta.Accessor(object); err == nil {
		namespace, name = metadata.GetNamespace(), metadata.GetName()
	} else {
		s.logger.Warn("Value is not an API object, ignored", "resource", s.resource.Name, "err", err)
		return nil
	}
	s.store.Update(func(tx *watchers.Tx) { s.resource.Delete(tx, namespace, name) })
	return nil
}

// Replace replaces all objects of the kind with those of the list, in one transaction.
// It overwrites the elements of the list, so that each API object can be freed as soon as
// it is converted.
func (s *storeWriter) Replace(list []any, _ string) error {
	for i, object := range list {
		list[i] = s.convert(object)
	}
	s.store.Update(func(tx *watchers.Tx) {
		listed := make(map[watchers.Key]struct{}, len(list))
		for _, entry := range list {
			if c, _ := entry.(*converted); c != nil && c.object != nil {
				listed[tx.Set(c.object)] = struct{}{}
			}
		}
		tx.Retain(s.resource.Kind, func(k watchers.Key) bool {
			_, ok := listed[k]
			return ok
		})
		s.setListed(tx)
	})
	return nil
}

// setListed marks the store as synced, if all other required resources have been listed before.
func (s *storeWriter) setListed(tx *watchers.Tx) {
	delete(s.unlisted, s.resource.Kind)
	if len(s.unlisted) == 0 {
		tx.SetSynced()
	}
}

// failed receives the error of a request for a resource that may be absent. It may be called at
// any time: it reads and writes in a transaction only.
func (s *storeWriter) failed(err error) {
	if !apierrors.IsNotFound(err) {
		return
	}
	s.store.Update(func(tx *watchers.Tx) {
		if s.unlisted[s.resource.Kind] {
			s.setListed(tx)
		}
	})
}

// Resync does nothing: the store already holds every object.
func (s *storeWriter) Resync() error { return nil }
