// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"sigs.k8s.io/kpng/watchers"
)

// LabelProxyName is the label of Services that are implemented by the proxy of that
// name instead of the default proxy of the cluster.
const LabelProxyName = "service.kubernetes.io/service-proxy-name"

// endpointSliceController is the value of [discoveryv1.LabelManagedBy] in slices that the EndpointSlice
// controller made. It sets [corev1.IsHeadlessService] in those of headless Services.
const endpointSliceController = "endpointslice-controller.k8s.io"

// A Filter selects the Services and EndpointSlices that a proxy, or a server for
// several proxies, needs, and their properties. The zero Filter is that of the default proxy
// of a cluster.
type Filter struct {
	// ProxyName selects Services by the value of [LabelProxyName]; "" selects Services
	// without that label.
	ProxyName string
	// AllProxies selects the Services of all proxies, for a server whose clients are
	// different proxies. ProxyName must be empty then.
	AllProxies bool
	// Details selects what consumers other than proxies need beside that; 0 is nothing.
	Details Details
	// NoClusterIPEndpoints leaves out the EndpointSlices of Services with cluster IPs, for a
	// consumer that needs the endpoints of headless Services only, such as a DNS server. They are
	// those that the controller of Kubernetes made without the label of headless Services. Slices
	// of other origin are kept, because they do not have to have that label.
	NoClusterIPEndpoints bool
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

// ServiceFields returns the field selector for Services. It excludes headless ones, unless
// Details has [DetailHeadless].
func (f Filter) ServiceFields() string {
	if f.Details.has(DetailHeadless) {
		return ""
	}
	return "spec.clusterIP!=" + corev1.ClusterIPNone
}

// EndpointSliceLabels returns the label selector for EndpointSlices. It excludes those
// of headless Services, unless Details has [DetailHeadless]. A selector cannot express
// NoClusterIPEndpoints.
func (f Filter) EndpointSliceLabels() string {
	if f.Details.has(DetailHeadless) {
		return ""
	}
	return "!" + corev1.IsHeadlessService
}

// NodeFields returns the field selector for the node of the given name.
func NodeFields(name string) string { return metav1.ObjectNameField + "=" + name }

// Validate returns an error if ProxyName is not a valid label value, or set together
// with AllProxies, or if Details has an unknown value.
func (f Filter) Validate() error {
	if unknown := f.Details &^ DetailsAll; unknown != 0 {
		return fmt.Errorf("Details: %#x is unknown", uint8(unknown))
	}
	if f.AllProxies && f.ProxyName != "" {
		return fmt.Errorf("ProxyName %q: must be empty with AllProxies", f.ProxyName)
	}
	set := labels.Set{LabelProxyName: f.ProxyName}
	if _, err := labels.ValidatedSelectorFromSet(set); err != nil {
		return fmt.Errorf("ProxyName %q: not a valid label value: %w", f.ProxyName, err)
	}
	return nil
}

// Service reports whether the filter selects a Service. The result is the same as that
// of the selectors for Services.
func (f Filter) Service(s *corev1.Service) bool {
	labelled := watchers.Service{ProxyName: proxyName(s)}
	if !f.AllProxies && !labelled.IsFor(f.ProxyName) {
		return false
	}
	return s.Spec.ClusterIP != corev1.ClusterIPNone || f.Details.has(DetailHeadless)
}

// EndpointSlice reports whether the filter selects a slice. The result is the same as
// that of the selector for slices, unless NoClusterIPEndpoints is set.
func (f Filter) EndpointSlice(s *discoveryv1.EndpointSlice) bool {
	if _, headless := s.Labels[corev1.IsHeadlessService]; headless {
		return f.Details.has(DetailHeadless)
	}
	return !f.NoClusterIPEndpoints || s.Labels[discoveryv1.LabelManagedBy] != endpointSliceController
}

// Object converts a *Service, *EndpointSlice, *Node or *ServiceCIDR of the API, like a
// [Converter] without Extend.
func (f Filter) Object(object any) (watchers.Object, error) {
	return Converter{Filter: f}.Object(object)
}
