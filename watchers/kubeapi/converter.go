// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers"
)

// An Extend returns the extensions of an API object, and a Problem for each value that it
// cannot use; Problem.Object may be empty. The object is a *corev1.Service,
// *discoveryv1.EndpointSlice or *corev1.Node. Extend must not modify it, and may be called
// concurrently. [CopyKeys] returns one that copies labels and annotations.
//
// The extensions of an EndpointSlice apply to each of its endpoints: an endpoint of the API
// has no labels or annotations itself.
type Extend func(object metav1.Object) (watchers.Extensions, []watchers.Problem)

// A Converter converts the API objects that its Filter selects. Its methods may be called
// concurrently.
type Converter struct {
	// Filter selects the objects, and the properties that are kept.
	Filter Filter
	// Extend is called once for each object that is converted; nil attaches no extensions.
	Extend Extend
}

// Object converts a *Service, *EndpointSlice, *Node or *ServiceCIDR of the API. It
// returns nil for an object that the filter excludes and for a nil pointer. The error is
// an [*InvalidObjectError], or that object has another type.
func (c Converter) Object(object any) (watchers.Object, error) {
	switch o := object.(type) {
	case *corev1.Service:
		if o == nil || !c.Filter.Service(o) {
			return nil, nil
		}
		out := convertService(o, c.Filter.Details)
		c.extend(o, "Service", &out.Extensions, &out.Problems)
		return out, nil
	case *discoveryv1.EndpointSlice:
		if o == nil || !c.Filter.EndpointSlice(o) {
			return nil, nil
		}
		out, err := convertEndpointSlice(o, c.Filter.Details)
		if err != nil {
			return nil, err
		}
		c.extend(o, "EndpointSlice", &out.Extensions, &out.Problems)
		return out, nil
	case *corev1.Node:
		if o == nil {
			return nil, nil
		}
		out := Node(o)
		c.extend(o, "Node", &out.Extensions, &out.Problems)
		return out, nil
	case *networkingv1.ServiceCIDR:
		if o == nil {
			return nil, nil
		}
		return ServiceCIDR(o), nil
	}
	return nil, fmt.Errorf("unsupported type %T, want a Service, EndpointSlice, Node or ServiceCIDR of the API", object)
}

// extend sets the extensions of an object, and adds the Problems with them.
func (c Converter) extend(object metav1.Object, kind string, extensions *watchers.Extensions, problems *[]watchers.Problem) {
	if c.Extend == nil {
		return
	}
	x, invalid := c.Extend(object)
	for _, p := range invalid {
		if p.Object == "" {
			p.Object = objectName(kind, object)
		}
		*problems = append(*problems, p)
	}
	*extensions = x
}

// objectName returns the kind and name of an object, as in Problem.Object.
func objectName(kind string, object metav1.Object) string {
	if object.GetNamespace() == "" {
		return kind + " " + object.GetName()
	}
	return kind + " " + object.GetNamespace() + "/" + object.GetName()
}
