// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package mcs

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Labels of the EndpointSlices of ServiceImports.
const (
	LabelServiceName   = "multicluster.kubernetes.io/service-name"
	LabelSourceCluster = "multicluster.kubernetes.io/source-cluster"
)

// The group, version and resource of ServiceImports.
const (
	group    = "multicluster.x-k8s.io"
	version  = "v1beta1"
	resource = "serviceimports"
	kind     = "ServiceImport"
)

func groupVersionResource() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: version, Resource: resource}
}

// typeHeadless is the type of a ServiceImport without ClusterSetIP.
const typeHeadless = "Headless"

// A serviceImport is the part of a ServiceImport that a proxy reads.
type serviceImport struct {
	metav1.ObjectMeta `json:"metadata"`

	Spec serviceImportSpec `json:"spec"`
}

// A serviceImportSpec has the fields of the API with the same names.
type serviceImportSpec struct {
	Type                  string                               `json:"type"`
	IPs                   []string                             `json:"ips"`
	IPFamilies            []corev1.IPFamily                    `json:"ipFamilies"`
	Ports                 []corev1.ServicePort                 `json:"ports"`
	SessionAffinity       corev1.ServiceAffinity               `json:"sessionAffinity"`
	SessionAffinityConfig *corev1.SessionAffinityConfig        `json:"sessionAffinityConfig"`
	InternalTrafficPolicy *corev1.ServiceInternalTrafficPolicy `json:"internalTrafficPolicy"`
}

// decode returns the ServiceImport of an object of the API.
func decode(u *unstructured.Unstructured) (*serviceImport, error) {
	out := &serviceImport{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, fmt.Errorf("ServiceImport %s/%s: %w", u.GetNamespace(), u.GetName(), err)
	}
	return out, nil
}
