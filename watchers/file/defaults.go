// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// setDefaults sets the defaults that the API server sets, except those of fields that
// proxies do not use and those that package kubeapi applies itself.
func setDefaults(object any, namespace string) {
	switch o := object.(type) {
	case *corev1.Service:
		o.Namespace = namespace
		setClusterIPs(&o.Spec)
	case *discoveryv1.EndpointSlice:
		o.Namespace = namespace
		for i := range o.Ports {
			if o.Ports[i].Name == nil {
				o.Ports[i].Name = new(string)
			}
		}
	case *corev1.Node:
		o.Namespace = ""
	}
}

// checkAllocated returns an error for a Service without a cluster IP: the API server
// allocates it, and a manifest must contain it.
func checkAllocated(object any) error {
	svc, ok := object.(*corev1.Service)
	if ok && svc.Spec.ClusterIP == "" && svc.Spec.Type != corev1.ServiceTypeExternalName {
		return errors.New("spec.clusterIP: required, since no API server allocates one; None for a headless Service")
	}
	return nil
}

func setClusterIPs(spec *corev1.ServiceSpec) {
	if spec.ClusterIP == "" && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP != "" {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if len(spec.IPFamilies) > 0 {
		return
	}
	families := make([]corev1.IPFamily, 0, len(spec.ClusterIPs))
	for _, ip := range spec.ClusterIPs {
		addr, ok := kubeapi.ParseAddr(ip)
		switch {
		case !ok:
			return
		case watchers.FamilyOf(addr) == watchers.FamilyIPv4:
			families = append(families, corev1.IPv4Protocol)
		default:
			families = append(families, corev1.IPv6Protocol)
		}
	}
	spec.IPFamilies = families
}
