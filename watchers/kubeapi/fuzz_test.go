// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// FuzzConvert converts objects decoded from arbitrary bytes: there is no panic, each
// Problem names object and field, and every value in the result is valid.
func FuzzConvert(f *testing.F) {
	svc, err := service(func(s *corev1.Service) {
		s.Spec.ExternalIPs, s.Spec.LoadBalancerSourceRanges = []string{"x", "::1"}, []string{"10.0.0.0/8"}
		s.Spec.Ports, s.Spec.SessionAffinity = []corev1.ServicePort{{Port: 80, AppProtocol: new("x")}}, "ClientIP"
		s.Labels, s.Annotations = map[string]string{"a": "1"}, map[string]string{"a": "2", "b": "3"}
	}).Marshal()
	require.NoError(f, err)
	eps, err := slice(func(s *discoveryv1.EndpointSlice) {
		s.Endpoints[0].Hostname = new("web-0")
		s.Endpoints[0].Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}}
	}).Marshal()
	require.NoError(f, err)
	n, err := node(func(n *corev1.Node) {
		n.Spec.PodCIDR, n.Status.Addresses = "x", []corev1.NodeAddress{{Type: "InternalIP", Address: "::"}}
	}).Marshal()
	require.NoError(f, err)
	for _, data := range [][]byte{svc, eps, n, nil} {
		f.Add(data)
	}
	copyKeys, err := kubeapi.CopyKeys("*a*")
	require.NoError(f, err)
	converter := kubeapi.Converter{Filter: kubeapi.Filter{AllProxies: true, Details: kubeapi.DetailsAll}, Extend: copyKeys}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s corev1.Service
		_ = s.Unmarshal(data) // fields decoded before an error stay set
		got := kubeapi.Service(&s)
		checkProblems(t, "Service "+s.Namespace+"/"+s.Name, got.Problems)
		for _, p := range got.Ports {
			require.NotZero(t, p.Port)
			require.NotEqual(t, "unknown", p.Protocol.String())
		}
		// The store validates every object; it leaves the values of a converted one alone.
		if s.Namespace != "" && s.Name != "" {
			kept := *stored(t, got)
			kept.Ports, kept.Problems = got.Ports, got.Problems // it also compares ports, and lists by index
			require.Equal(t, got, &kept)
		}
		for _, ip := range got.ExternalIPs {
			require.NotZero(t, watchers.FamilyOf(ip))
			require.False(t, ip.Is4In6())
		}
		for _, p := range got.SourceRanges {
			require.Equal(t, p.Masked(), p)
		}

		var e discoveryv1.EndpointSlice
		_ = e.Unmarshal(data)
		if got, err := kubeapi.EndpointSlice(&e); err == nil {
			checkProblems(t, "EndpointSlice "+e.Namespace+"/"+e.Name, got.Problems)
			require.Equal(t, got.Endpoints, stored(t, got).Endpoints)
			for _, ep := range got.Endpoints {
				require.Equal(t, got.Family, watchers.FamilyOf(ep.Addr))
			}
		}

		var n corev1.Node
		_ = n.Unmarshal(data)
		checkProblems(t, "Node "+n.Name, kubeapi.Node(&n).Problems)
		checkOptions(t, converter, &s, &e, &n)
	})
}

// checkOptions checks that the options of a Converter add what they select and change nothing
// else.
func checkOptions(t *testing.T, c kubeapi.Converter, s *corev1.Service, e *discoveryv1.EndpointSlice, n *corev1.Node) {
	t.Helper()
	if object, err := c.Object(s); err == nil && object != nil {
		got := object.(*watchers.Service)
		if got.Details != nil && len(got.Details.AppProtocols) > 0 {
			require.Len(t, got.Details.AppProtocols, len(got.Ports))
		}
		checkCopied(t, got.Extensions, s.Labels, s.Annotations)
		got.Extensions, got.Details = watchers.Extensions{}, nil
		require.Equal(t, kubeapi.Service(s), got)
	}
	if object, err := c.Object(e); err == nil {
		got := object.(*watchers.EndpointSlice)
		if len(got.Details) > 0 {
			require.Len(t, got.Details, len(got.Endpoints))
		}
		checkCopied(t, got.Extensions, e.Labels, e.Annotations)
		got.Extensions, got.Details = watchers.Extensions{}, nil
		want, err := kubeapi.EndpointSlice(e)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	object, err := c.Object(n)
	require.NoError(t, err)
	got := object.(*watchers.Node)
	checkCopied(t, got.Extensions, n.Labels, n.Annotations)
	got.Extensions = watchers.Extensions{}
	require.Equal(t, kubeapi.Node(n), got)
}

// checkCopied checks the extensions of an object whose keys with an "a" are copied.
func checkCopied(t *testing.T, x watchers.Extensions, labels, annotations map[string]string) {
	t.Helper()
	want := map[string]string{}
	for _, m := range []map[string]string{labels, annotations} {
		for key, value := range m {
			if strings.Contains(key, "a") {
				want[key] = value
			}
		}
	}
	require.Equal(t, want, content(x))
}

func checkProblems(t *testing.T, object string, problems []watchers.Problem) {
	t.Helper()
	for _, p := range problems {
		require.Equal(t, object, p.Object)
		require.NotEmpty(t, p.Field)
		require.NotContains(t, p.Field+p.Message, "%!")
	}
}
