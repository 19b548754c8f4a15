// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package mcs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// Origin is that of the Services of this package; see [watchers.ServiceName].
const Origin = kind

// A converter converts objects of the API. Package kubeapi parses their fields.
type converter struct {
	cluster string
	extend  kubeapi.Extend
	details kubeapi.Details
}

// serviceImport converts a ServiceImport, or returns nil if it is headless and not selected.
func (c converter) serviceImport(object any) (watchers.Object, error) {
	u, ok := object.(*unstructured.Unstructured)
	if !ok {
		return nil, fmt.Errorf("unsupported type %T, want a ServiceImport", object)
	}
	imported, err := decode(u)
	if err != nil {
		return nil, err
	}
	parser := kubeapi.Converter{Filter: kubeapi.Filter{Details: c.details}, Extend: c.extend}
	converted, err := parser.Object(imported.asService())
	out, ok := converted.(*watchers.Service)
	if err != nil || !ok {
		return nil, err
	}
	out.Name.Origin = Origin
	if len(out.ClusterIPs) > 0 { // the families are those of the addresses, whatever their order in the API
		out.IPFamilies = nil
		for _, ip := range out.ClusterIPs {
			out.ClusterIP = cmp.Or(out.ClusterIP, ip)
			out.IPFamilies = append(out.IPFamilies, watchers.FamilyOf(ip))
		}
	}
	for i := range out.Problems {
		p := &out.Problems[i]
		p.Object = strings.Replace(p.Object, "Service ", kind+" ", 1)
		p.Field = strings.Replace(p.Field, "spec.clusterIPs", "spec.ips", 1)
	}
	return out, nil
}

// asService returns a Service with the same properties.
func (s *serviceImport) asService() *corev1.Service {
	out := &corev1.Service{
		ObjectMeta: s.ObjectMeta,
		Spec: corev1.ServiceSpec{
			Ports: slices.Clone(s.Spec.Ports), ClusterIPs: s.Spec.IPs, IPFamilies: s.Spec.IPFamilies,
			SessionAffinity: s.Spec.SessionAffinity, SessionAffinityConfig: s.Spec.SessionAffinityConfig,
			InternalTrafficPolicy: s.Spec.InternalTrafficPolicy,
		},
	}
	if s.Spec.Type == typeHeadless {
		out.Spec.ClusterIP, out.Spec.ClusterIPs = corev1.ClusterIPNone, nil
	}
	for i := range out.Spec.Ports {
		out.Spec.Ports[i].NodePort = 0 // not in the API
	}
	return out
}

// endpointSlice converts an EndpointSlice of a ServiceImport, or returns nil if it is not of one.
func (c converter) endpointSlice(object any) (watchers.Object, error) {
	in, ok := object.(*discoveryv1.EndpointSlice)
	if !ok {
		return nil, fmt.Errorf("unsupported type %T, want an EndpointSlice", object)
	}
	if in.Labels[LabelServiceName] == "" { // the label selector excludes it
		return nil, nil //nolint:nilnil // not selected
	}
	renamed := *in
	renamed.Labels = maps.Clone(in.Labels)
	renamed.Labels[discoveryv1.LabelServiceName] = in.Labels[LabelServiceName]
	parser := kubeapi.Converter{Filter: kubeapi.Filter{Details: c.details}, Extend: c.extend}
	converted, err := parser.Object(&renamed)
	out, ok := converted.(*watchers.EndpointSlice)
	if err != nil || !ok {
		return nil, err
	}
	out.Service.Origin = Origin
	if c.cluster == "" || in.Labels[LabelSourceCluster] != c.cluster {
		removeNodes(out.Endpoints)
	}
	return out, nil
}

// removeNodes removes the references to nodes of another cluster.
func removeNodes(endpoints []watchers.Endpoint) {
	for i := range endpoints {
		e := &endpoints[i]
		e.Node = ""
		if e.Hints != nil && len(e.Hints.Nodes) > 0 { // hints may be shared
			e.Hints = &watchers.Hints{Zones: e.Hints.Zones}
		}
	}
}
