// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"reflect"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// TestIN08ConversionSharesNoMemory checks that conversion does not modify the API object,
// which may be in a shared cache, and that modifying it later does not change the result.
func TestIN08ConversionSharesNoMemory(t *testing.T) {
	svc := service(func(s *corev1.Service) {
		s.Labels, s.Annotations = map[string]string{"a": "b"}, map[string]string{"c": "d"}
		s.Spec.ExternalIPs, s.Spec.LoadBalancerSourceRanges = []string{" 192.0.2.1", "x"}, []string{" 10.0.0.1/8", "y"}
		s.Spec.IPFamilies, s.Spec.SessionAffinity = []corev1.IPFamily{"IPv4"}, "ClientIP"
		s.Spec.Ports = []corev1.ServicePort{{Name: "p", Port: 80, NodePort: 30080}}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}}
	})
	eps := slice(func(s *discoveryv1.EndpointSlice) {
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{" 010.0.0.1"}, NodeName: new("n"), Hints: &discoveryv1.EndpointHints{
			ForZones: []discoveryv1.ForZone{{Name: "z"}}, ForNodes: []discoveryv1.ForNode{{Name: "n"}}}}}
	})
	n := node(func(n *corev1.Node) {
		n.Spec.PodCIDRs = []string{"10.1.2.3/24"}
		n.Status.Addresses = []corev1.NodeAddress{{Type: "InternalIP", Address: "192.0.2.1"}}
	})
	cidr := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.1/16"}}}
	for kind, in := range map[string]runtime.Object{"Service": svc, "EndpointSlice": eps, "Node": n, "ServiceCIDR": cidr} {
		t.Run("IN-08 "+kind, func(t *testing.T) {
			before := in.DeepCopyObject()
			var f kubeapi.Filter
			object, err := f.Object(in)
			require.NoError(t, err)
			require.Equal(t, before, in)
			overwrite(reflect.ValueOf(in).Elem())
			again, err := f.Object(before)
			require.NoError(t, err)
			require.Equal(t, again, object, "the result shares no memory with the API object")
		})
	}
}

// overwrite replaces every string and number that is reachable from v.
func overwrite(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			overwrite(v.Elem())
		}
	case reflect.Struct:
		for _, field := range v.Fields() {
			if field.CanSet() {
				overwrite(field)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			overwrite(v.Index(i))
		}
	case reflect.String:
		v.SetString("overwritten")
	case reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(7)
	}
}

// TestEqualStringsAndHintsShareMemory bounds the memory of a large cluster: names and
// hints repeat in thousands of endpoints.
func TestEqualStringsAndHintsShareMemory(t *testing.T) {
	hints := func() *discoveryv1.EndpointHints {
		return &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: string([]byte("zone"))}}}
	}
	newSlice := func() *watchers.EndpointSlice {
		got, err := kubeapi.EndpointSlice(slice(func(s *discoveryv1.EndpointSlice) {
			s.Namespace = string([]byte("ns"))
			e := discoveryv1.Endpoint{Addresses: []string{"10.1.0.1"}, NodeName: new(string([]byte("node-a")))}
			for range 3 {
				e.Hints = hints()
				s.Endpoints = append(s.Endpoints, e)
			}
		}))
		require.NoError(t, err)
		return got
	}
	a, b := newSlice(), newSlice()
	require.NotNil(t, a.Endpoints[1].Hints)
	require.Same(t, a.Endpoints[1].Hints, a.Endpoints[3].Hints)
	require.Same(t, unsafe.StringData(a.Endpoints[1].Node), unsafe.StringData(b.Endpoints[3].Node))
	require.Same(t, unsafe.StringData(a.Namespace), unsafe.StringData(b.Service.Namespace))
}
