// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// modeKey is the annotation of a vendor.
const modeKey = "acme.example/mode"

// withMode returns an object with the annotation of the vendor.
func withMode[T metav1.Object](object T, mode string) T {
	object.SetAnnotations(map[string]string{modeKey: mode, "other.example/x": "y"})
	return object
}

// extensionsOf returns the extensions of an object and its Problems.
func extensionsOf(t *testing.T, object watchers.Object) (watchers.Extensions, []watchers.Problem) {
	t.Helper()
	switch o := object.(type) {
	case *watchers.Service:
		return o.Extensions, o.Problems
	case *watchers.EndpointSlice:
		return o.Extensions, o.Problems
	case *watchers.Node:
		return o.Extensions, o.Problems
	}
	require.Failf(t, "object without extensions", "%T", object)
	return watchers.Extensions{}, nil
}

func TestConverterExtendsEachKindOnce(t *testing.T) {
	objects := map[string]metav1.Object{
		"Service ns/web": withMode(service(nil), "dsr"), "EndpointSlice ns/web-1": withMode(slice(nil), "dsr"), "Node n1": withMode(node(nil), "dsr"),
	}
	calls := 0
	c := kubeapi.Converter{Extend: func(o metav1.Object) (watchers.Extensions, []watchers.Problem) {
		calls++
		return localsink.NewExtensions(localsink.Extension{Key: "mode", Value: o.GetAnnotations()[modeKey]}),
			[]watchers.Problem{{Field: "metadata.annotations", Message: "is unusual"}, {Object: "Pod x", Field: "f", Message: "m"}}
	}}
	for name, o := range objects {
		calls = 0
		object, err := c.Object(o)
		require.NoError(t, err)
		require.Equal(t, 1, calls, name)
		x, problems := extensionsOf(t, object)
		require.Equal(t, map[string]string{"mode": "dsr"}, content(x), name)
		require.Equal(t, []watchers.Problem{{Object: name, Field: "metadata.annotations", Message: "is unusual"}, {Object: "Pod x", Field: "f", Message: "m"}}, problems)
	}

	calls = 0
	cidr, err := c.Object(&networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "c"}})
	require.NoError(t, err)
	require.NotNil(t, cidr)
	for _, excluded := range []any{
		service(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }), slice(func(s *discoveryv1.EndpointSlice) { s.Labels = nil }),
		(*corev1.Service)(nil), (*discoveryv1.EndpointSlice)(nil), (*corev1.Node)(nil),
	} {
		object, _ := c.Object(excluded)
		require.Nil(t, object)
	}
	require.Zero(t, calls, "Extend sees no object that is excluded, invalid or of another kind")
}

func TestConverterReportsFieldProblemsToo(t *testing.T) {
	c := kubeapi.Converter{Extend: func(metav1.Object) (watchers.Extensions, []watchers.Problem) {
		return watchers.Extensions{}, []watchers.Problem{{Field: "metadata.annotations[" + modeKey + "]", Message: `"x" is not dsr or nat; ignored`}}
	}}
	object, err := c.Object(service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"x"} }))
	require.NoError(t, err)
	got := stored(t, object.(*watchers.Service))
	require.Len(t, got.Problems, 2)
	require.Equal(t, `Service ns/web: metadata.annotations[acme.example/mode]: "x" is not dsr or nat; ignored`, got.Problems[1].String())
}

// TestConverterWithoutOptionsIsTheFunctions compares the zero Converter with the functions for
// objects that have all that a Converter could keep.
func TestConverterWithoutOptionsIsTheFunctions(t *testing.T) {
	svc, eps, n := richService(), richSlice(), withMode(node(nil), "dsr")
	want, err := kubeapi.EndpointSlice(eps)
	require.NoError(t, err)
	for object, want := range map[any]watchers.Object{svc: kubeapi.Service(svc), eps: want, n: kubeapi.Node(n)} {
		got, err := kubeapi.Converter{}.Object(object)
		require.NoError(t, err)
		require.Equal(t, want, got)
		x, _ := extensionsOf(t, got)
		require.Zero(t, x.Len())
	}
}

// TestUnusedOptionsTakeNoMemory: an object with all that a Converter could keep costs as many
// allocations as one without.
func TestUnusedOptionsTakeNoMemory(t *testing.T) {
	plainService := service(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Port: 80}, {Port: 81, Name: "b"}, {Port: 82, Name: "c"}}
	})
	plainSlice := slice(func(s *discoveryv1.EndpointSlice) {
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}}, {Addresses: []string{"10.1.0.2"}}, {Addresses: []string{"10.1.0.3"}}}
	})
	allocations := func(object any) float64 {
		var c kubeapi.Converter
		return testing.AllocsPerRun(100, func() {
			if o, err := c.Object(object); o == nil || err != nil {
				t.Error(o, err)
			}
		})
	}
	rich := richService()
	rich.Spec.ClusterIP = "10.0.0.1"
	require.Equal(t, allocations(plainService), allocations(rich))
	require.Equal(t, allocations(plainSlice), allocations(richSlice()))
	require.Equal(t, allocations(node(nil)), allocations(withMode(node(nil), "dsr")))
}

func TestExtensionsThatTheStoreRejectsAreProblems(t *testing.T) {
	c := kubeapi.Converter{Extend: copyKeys(t, "acme.example/*")}
	object, err := c.Object(service(func(s *corev1.Service) {
		s.Annotations = map[string]string{modeKey: "dsr", "acme.example/routes": strings.Repeat("x", localsink.MaxExtensionsSize)}
	}))
	require.NoError(t, err)
	got := stored(t, object.(*watchers.Service))
	require.Equal(t, map[string]string{modeKey: "dsr"}, content(got.Extensions))
	require.Len(t, got.Problems, 1)
	require.Contains(t, got.Problems[0].String(), `Service ns/web: extensions: key "acme.example/routes" has 262163 bytes with its value`)
}
