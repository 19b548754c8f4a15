// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"log/slog"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"
)

// A Handler receives the objects of one resource in place of the store. Its methods are called
// from one goroutine. They must not keep the objects.
type Handler interface {
	// Set adds or replaces an object.
	Set(object any)
	// Delete deletes an object.
	Delete(namespace, name string)
	// Replace replaces all objects.
	Replace(objects []any)
}

// A handlerStore is the store of a reflector whose resource has a handler.
type handlerStore struct {
	resource *Resource
	logger   *slog.Logger
}

var _ cache.ReflectorStore = (*handlerStore)(nil)

func (s *handlerStore) Add(object any) error { return s.Update(object) }

func (s *handlerStore) Update(object any) error {
	s.resource.Handler.Set(object)
	return nil
}

// Delete deletes an object, or the object that a tombstone names.
func (s *handlerStore) Delete(object any) error {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		namespace, name, err := cache.SplitMetaNamespaceKey(tombstone.Key)
		if err != nil {
			s.logger.Warn("Tombstone key is invalid, ignored", "resource", s.resource.Name, "err", err)
			return nil
		}
		s.resource.Handler.Delete(namespace, name)
		return nil
	}
	metadata, err := meta.Accessor(object)
	if err != nil {
		s.logger.Warn("Value is not an API object, ignored", "resource", s.resource.Name, "err", err)
		return nil
	}
	s.resource.Handler.Delete(metadata.GetNamespace(), metadata.GetName())
	return nil
}

func (s *handlerStore) Replace(list []any, _ string) error {
	s.resource.Handler.Replace(list)
	return nil
}

func (s *handlerStore) Resync() error { return nil }
