// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A source is where the objects of one kind come from.
type source struct {
	kind           watchers.Kind
	resource       string // for messages
	example        runtime.Object
	labels, fields string // selectors
	optional       bool   // the facts are complete without this kind
	list           func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch          func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// A lister is the part of a typed client that a source needs.
type lister[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

func newSource[L runtime.Object](kind watchers.Kind, resource string, example runtime.Object, client lister[L]) *source {
	return &source{
		kind: kind, resource: resource, example: example,
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

// sources returns where each wanted kind comes from, with the server-side filters.
func (w *Watcher) sources() []*source {
	c := &w.config
	services := newSource(watchers.KindService, "services", &corev1.Service{},
		w.client.CoreV1().Services(c.Namespace))
	services.labels, services.fields = c.Filter.ServiceLabels(), c.Filter.ServiceFields()

	slices := newSource(watchers.KindEndpointSlice, "endpointslices", &discoveryv1.EndpointSlice{},
		w.client.DiscoveryV1().EndpointSlices(c.Namespace))
	slices.labels = c.Filter.EndpointSliceLabels()

	// Servers before Kubernetes 1.33 do not have these, and a role may not allow them.
	networks := newSource(watchers.KindServiceCIDR, "servicecidrs", &networkingv1.ServiceCIDR{},
		w.client.NetworkingV1().ServiceCIDRs())
	networks.optional = true

	if c.Nodes == NodesNone {
		return []*source{services, slices, networks}
	}
	nodes := newSource(watchers.KindNode, "nodes", &corev1.Node{}, w.client.CoreV1().Nodes())
	if c.Nodes == NodesOwn {
		nodes.fields = kubeapi.NodeFields(c.NodeName)
	}
	return []*source{services, slices, networks, nodes}
}

// listWatch returns the source in the form that reflectors take. Reflectors do not
// wait for a list when they are stopped: calls is locked for reading meanwhile.
func (s *source) listWatch(o *outage, calls *sync.RWMutex) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			calls.RLock()
			defer calls.RUnlock()
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			options.LabelSelector, options.FieldSelector = s.labels, s.fields
			list, err := s.list(ctx, options)
			if err != nil {
				o.failed(ctx, &options, err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector, options.FieldSelector = s.labels, s.fields
			w, err := s.watch(ctx, options)
			if err != nil {
				o.failed(ctx, &options, err)
			} else {
				o.over()
			}
			return w, err
		},
	}
}
