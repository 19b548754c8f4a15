// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package reflectors

import (
	"context"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
)

// A Resource is one of the API resources of a watcher.
type Resource struct {
	// Kind is that of the objects in the store. No two resources of a watcher have the same.
	Kind watchers.Kind
	// Name is that of the resource in the API, such as "services".
	Name string
	// Example is an object of the resource.
	Example runtime.Object
	// LabelSelector and FieldSelector are evaluated by the API server.
	LabelSelector, FieldSelector string
	// Optional reports whether the store is synced without this resource.
	Optional bool
	// MayBeAbsent reports whether the API server may not have the resource: the store is then
	// synced without it, and keeps the objects that it has. Failed is unused.
	MayBeAbsent bool
	// Convert converts an object of the API. It returns nil for an object that is not selected,
	// and an error for one that is invalid. It may be called concurrently.
	Convert func(object any) (watchers.Object, error)
	// Delete deletes an object of the API from the store.
	Delete func(tx *watchers.Tx, namespace, name string)
	// Handler receives the objects in place of the store, if it is not nil. Kind, Optional,
	// Convert and Delete are unused then: the handler decides when the store is synced.
	Handler Handler
	// Failed receives the error of each failed request. nil has no effect.
	Failed func(err error)

	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// A Client is the part of a typed client that a resource needs.
type Client[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// NewResource returns a resource that the client lists and watches. The caller sets its other
// fields.
func NewResource[L runtime.Object](kind watchers.Kind, name string, example runtime.Object, client Client[L]) *Resource {
	return &Resource{
		Kind: kind, Name: name, Example: example,
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := client.List(ctx, o)
			if err != nil {
				return nil, err
			}
			return list, nil
		},
		watch: client.Watch,
	}
}

// failed passes an error on.
func (r *Resource) failed(err error) {
	if r.Failed != nil {
		r.Failed(err)
	}
}

// listWatch returns the resource in the form that reflectors take. A list request holds
// inFlight for reading, because reflectors do not wait for it when they stop.
func (r *Resource) listWatch(requests *requestLog, inFlight *sync.RWMutex) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			inFlight.RLock()
			defer inFlight.RUnlock()
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			options.LabelSelector, options.FieldSelector = r.LabelSelector, r.FieldSelector
			list, err := r.list(ctx, options)
			if err != nil {
				requests.failed(ctx, &options, err)
				r.failed(err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector, options.FieldSelector = r.LabelSelector, r.FieldSelector
			w, err := r.watch(ctx, options)
			if err != nil {
				requests.failed(ctx, &options, err)
				r.failed(err)
			} else {
				requests.watching()
			}
			return w, err
		},
	}
}
