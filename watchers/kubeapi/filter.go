// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"sigs.k8s.io/kpng/watchers"
)

// LabelProxyName is the label that gives a Service to a proxy of that name, and
// takes it from the proxy that has none.
const LabelProxyName = "service.kubernetes.io/service-proxy-name"

// A Filter says which Services and EndpointSlices concern one proxy, or a server of
// several. The zero Filter is that of a cluster's ordinary proxy.
type Filter struct {
	// ProxyName is the value of [LabelProxyName] that the Services of this proxy
	// have; "" stands for Services without that label.
	ProxyName string
	// AllProxies takes in the Services of all proxies, for servers that serve several;
	// each Service says whose it is. ProxyName must be empty then.
	AllProxies bool
}

// ServiceLabels returns the label selector for Services.
func (f Filter) ServiceLabels() string {
	switch {
	case f.AllProxies:
		return ""
	case f.ProxyName == "":
		return "!" + LabelProxyName
	}
	return LabelProxyName + "=" + f.ProxyName
}

// ServiceFields returns the field selector for Services: none that are headless.
func (f Filter) ServiceFields() string { return "spec.clusterIP!=" + corev1.ClusterIPNone }

// EndpointSliceLabels returns the label selector for EndpointSlices: none of
// headless Services.
func (f Filter) EndpointSliceLabels() string { return "!" + corev1.IsHeadlessService }

// NodeFields returns the field selector for one node.
func NodeFields(name string) string { return metav1.ObjectNameField + "=" + name }

// Validate returns an error when no Service could have such a ProxyName, or when it
// stands beside AllProxies.
func (f Filter) Validate() error {
	if f.AllProxies && f.ProxyName != "" {
		return fmt.Errorf("proxy name %q: all proxies are wanted", f.ProxyName)
	}
	set := labels.Set{LabelProxyName: f.ProxyName}
	if _, err := labels.ValidatedSelectorFromSet(set); err != nil {
		return fmt.Errorf("proxy name %q cannot be a label's value: %w", f.ProxyName, err)
	}
	return nil
}

// Service reports whether a Service concerns the proxy: what the selectors for
// Services let through.
func (f Filter) Service(s *corev1.Service) bool {
	fact := watchers.Service{ProxyName: proxyName(s)}
	if !f.AllProxies && !fact.IsFor(f.ProxyName) {
		return false
	}
	return s.Spec.ClusterIP != corev1.ClusterIPNone
}

// EndpointSlice reports whether a slice concerns the proxy: what the selector for
// slices lets through.
func (f Filter) EndpointSlice(s *discoveryv1.EndpointSlice) bool {
	_, headless := s.Labels[corev1.IsHeadlessService]
	return !headless
}

// Object makes the fact of a *Service, *EndpointSlice, *Node or *ServiceCIDR; it is nil
// when the object does not concern the proxy. An error says that nothing can be made
// of the object.
func (f Filter) Object(object any) (watchers.Object, error) {
	switch o := object.(type) {
	case *corev1.Service:
		if o == nil || !f.Service(o) {
			return nil, nil
		}
		return Service(o), nil
	case *discoveryv1.EndpointSlice:
		if o == nil || !f.EndpointSlice(o) {
			return nil, nil
		}
		slice, err := EndpointSlice(o)
		if err != nil {
			return nil, err
		}
		return slice, nil
	case *corev1.Node:
		if o == nil {
			return nil, nil
		}
		return Node(o), nil
	case *networkingv1.ServiceCIDR:
		if o == nil {
			return nil, nil
		}
		return ServiceCIDR(o), nil
	}
	return nil, fmt.Errorf("a %T is no Service, EndpointSlice, Node or ServiceCIDR", object)
}
