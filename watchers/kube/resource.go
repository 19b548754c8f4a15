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

// A resource is one of the watched API resources.
type resource struct {
	kind                         watchers.Kind
	name                         string // "services"
	example                      runtime.Object
	labelSelector, fieldSelector string // evaluated by the API server
	optional                     bool   // the store is synced without this resource
	list                         func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch                        func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// A listWatchClient is the part of a typed client that a resource needs.
type listWatchClient[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

func newResource[L runtime.Object](kind watchers.Kind, name string, example runtime.Object, client listWatchClient[L]) *resource {
	return &resource{
		kind: kind, name: name, example: example,
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

// resources returns the resources that the configuration selects.
func (w *Watcher) resources() []*resource {
	c := &w.cfg
	services := newResource(watchers.KindService, "services", &corev1.Service{},
		w.client.CoreV1().Services(c.Namespace))
	services.labelSelector, services.fieldSelector = c.Filter.ServiceLabels(), c.Filter.ServiceFields()

	slices := newResource(watchers.KindEndpointSlice, "endpointslices", &discoveryv1.EndpointSlice{},
		w.client.DiscoveryV1().EndpointSlices(c.Namespace))
	slices.labelSelector = c.Filter.EndpointSliceLabels()

	// Servers before Kubernetes 1.33 do not have ServiceCIDRs, and a role may not allow them.
	cidrs := newResource(watchers.KindServiceCIDR, "servicecidrs", &networkingv1.ServiceCIDR{},
		w.client.NetworkingV1().ServiceCIDRs())
	cidrs.optional = true

	if c.Nodes == NodesNone {
		return []*resource{services, slices, cidrs}
	}
	nodes := newResource(watchers.KindNode, "nodes", &corev1.Node{}, w.client.CoreV1().Nodes())
	if c.Nodes == NodesOwn {
		nodes.fieldSelector = kubeapi.NodeFields(c.NodeName)
	}
	return []*resource{services, slices, cidrs, nodes}
}

// listWatch returns the resource in the form that reflectors take. A list request holds
// inFlight for reading, because reflectors do not wait for it when they stop.
func (r *resource) listWatch(requests *requestLog, inFlight *sync.RWMutex) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			inFlight.RLock()
			defer inFlight.RUnlock()
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			options.LabelSelector, options.FieldSelector = r.labelSelector, r.fieldSelector
			list, err := r.list(ctx, options)
			if err != nil {
				requests.failed(ctx, &options, err)
			}
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector, options.FieldSelector = r.labelSelector, r.fieldSelector
			w, err := r.watch(ctx, options)
			if err != nil {
				requests.failed(ctx, &options, err)
			} else {
				requests.watching()
			}
			return w, err
		},
	}
}
