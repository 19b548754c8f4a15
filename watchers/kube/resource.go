// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/internal/reflectors"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// newResource returns a resource whose objects package kubeapi converts.
func newResource[L runtime.Object](w *Watcher, kind watchers.Kind, name string, example runtime.Object, client reflectors.Client[L]) *reflectors.Resource {
	r := reflectors.NewResource(kind, name, example, client)
	r.Convert = kubeapi.Converter{Filter: w.cfg.Filter, Extend: w.cfg.Extend}.Object
	r.Delete = func(tx *watchers.Tx, namespace, name string) {
		switch kind {
		case watchers.KindService:
			tx.DeleteService(watchers.ServiceName{Namespace: namespace, Name: name})
		case watchers.KindEndpointSlice:
			tx.DeleteEndpointSlice(namespace, name)
		case watchers.KindNode:
			tx.DeleteNode(name)
		case watchers.KindServiceCIDR:
			tx.DeleteServiceCIDR(name)
		case watchers.KindSynced: // not a resource
		}
	}
	return r
}

// resources returns the resources that the configuration selects.
func (w *Watcher) resources() []*reflectors.Resource {
	c := &w.cfg
	services := newResource(w, watchers.KindService, "services", &corev1.Service{},
		w.core.Services(c.Namespace))
	services.LabelSelector, services.FieldSelector = c.Filter.ServiceLabels(), c.Filter.ServiceFields()

	slices := newResource(w, watchers.KindEndpointSlice, "endpointslices", &discoveryv1.EndpointSlice{},
		w.discovery.EndpointSlices(c.Namespace))
	slices.LabelSelector = c.Filter.EndpointSliceLabels()

	// Servers before Kubernetes 1.33 do not have ServiceCIDRs, and a role may not allow them.
	cidrs := newResource(w, watchers.KindServiceCIDR, "servicecidrs", &networkingv1.ServiceCIDR{},
		w.client.NetworkingV1().ServiceCIDRs())
	cidrs.Optional = true

	if c.Nodes == NodesNone {
		return []*reflectors.Resource{services, slices, cidrs}
	}
	nodes := newResource(w, watchers.KindNode, "nodes", &corev1.Node{}, w.core.Nodes())
	if c.Nodes == NodesOwn {
		nodes.FieldSelector = kubeapi.NodeFields(c.NodeName)
	}
	return []*reflectors.Resource{services, slices, cidrs, nodes}
}
