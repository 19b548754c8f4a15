// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package mcs

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// importOf returns the ServiceImport ns/web with the given fields of its specification, as YAML.
func importOf(t testing.TB, spec string) *unstructured.Unstructured {
	t.Helper()
	u := example()
	u.SetNamespace("ns")
	u.SetName("web")
	fields := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(spec), &fields))
	u.Object["spec"] = fields
	return u
}

// sliceOf returns the EndpointSlice web-1 of the ServiceImport web, of a cluster, with an endpoint on a node.
func sliceOf(cluster string) *discoveryv1.EndpointSlice {
	node, port, number := "node-1", "web", int32(8080)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-1", Labels: map[string]string{
			LabelServiceName: "web", LabelSourceCluster: cluster,
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.1.0.1"}, NodeName: &node,
			Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}, ForNodes: []discoveryv1.ForNode{{Name: "node-1"}}},
		}},
	}
}

func TestServiceImport(t *testing.T) {
	converted, err := converter{}.serviceImport(importOf(t, `
type: ClusterSetIP
ips: [fd00::1, 10.42.0.1]
ipFamilies: [IPv4, IPv6]
ports: [{name: web, port: 80}, {name: dns, port: 53, protocol: UDP, nodePort: 30053}]
sessionAffinity: ClientIP
sessionAffinityConfig: {clientIP: {timeoutSeconds: 60}}
internalTrafficPolicy: Local
`))
	require.NoError(t, err)
	s := converted.(*watchers.Service)
	require.Equal(t, watchers.ServiceName{Namespace: "ns", Name: "web", Origin: "ServiceImport"}, s.Name)
	require.Equal(t, netip.MustParseAddr("10.42.0.1"), s.ClusterIPOf(watchers.FamilyIPv4))
	require.Equal(t, netip.MustParseAddr("fd00::1"), s.ClusterIPOf(watchers.FamilyIPv6))
	require.Equal(t, []watchers.ServicePort{
		{Name: "web", Protocol: localsink.ProtocolTCP, Port: 80}, {Name: "dns", Protocol: localsink.ProtocolUDP, Port: 53},
	}, s.Ports)
	require.Equal(t, time.Minute, s.Affinity)
	require.Equal(t, watchers.PolicyLocal, s.InternalPolicy)
	require.Empty(t, s.Problems)
}

func TestInvalidFieldsOfServiceImportAreNamed(t *testing.T) {
	converted, err := converter{}.serviceImport(importOf(t, `
type: ClusterSetIP
ips: [10.42.0.1, not-an-address]
ports: [{port: 80}, {port: 70000}]
`))
	require.NoError(t, err)
	s := converted.(*watchers.Service)
	require.Equal(t, netip.MustParseAddr("10.42.0.1"), s.ClusterIPOf(watchers.FamilyIPv4))
	require.Len(t, s.Ports, 1)
	var problems []string
	for _, p := range s.Problems {
		problems = append(problems, p.String())
	}
	require.Len(t, problems, 2)
	require.Contains(t, problems[0]+problems[1], "ServiceImport ns/web: spec.ips[1]: ")
	require.Contains(t, problems[0]+problems[1], "ServiceImport ns/web: spec.ports[1].port: 70000 is out of range")

	_, err = converter{}.serviceImport(importOf(t, "ports: 7"))
	require.ErrorContains(t, err, "ServiceImport ns/web: ")
}

func TestHeadlessImportsAreDetails(t *testing.T) {
	headless := importOf(t, "{type: Headless, ports: [{port: 80}]}")
	converted, err := converter{}.serviceImport(headless)
	require.NoError(t, err)
	require.Nil(t, converted)
	converted, err = converter{details: kubeapi.DetailHeadless}.serviceImport(headless)
	require.NoError(t, err)
	require.True(t, converted.(*watchers.Service).Details.Headless)
}

// An import without ClusterSetIPs, which the implementation has not assigned yet, has no
// frontend and no Problem.
func TestImportWithoutAddresses(t *testing.T) {
	converted, err := converter{}.serviceImport(importOf(t, "{type: ClusterSetIP, ports: [{port: 80}]}"))
	require.NoError(t, err)
	require.False(t, converted.(*watchers.Service).ClusterIP.IsValid())
	require.Empty(t, converted.(*watchers.Service).Problems)
}

func TestOnlyEndpointsOfThisClusterHaveNodes(t *testing.T) {
	for _, test := range []struct{ own, source, want string }{
		{"here", "here", "node-1"}, {"here", "there", ""}, {"", "there", ""}, {"", "", ""}, {"here", "", ""},
	} {
		slice := sliceOf(test.source)
		converted, err := converter{cluster: test.own}.endpointSlice(slice)
		require.NoError(t, err)
		s := converted.(*watchers.EndpointSlice)
		require.Equal(t, watchers.ServiceName{Namespace: "ns", Name: "web", Origin: Origin}, s.Service)
		require.Equal(t, test.want, s.Endpoints[0].Node, "%+v", test)
		require.Equal(t, []string{"a"}, s.Endpoints[0].Hints.Zones)
		require.Equal(t, test.want != "", len(s.Endpoints[0].Hints.Nodes) > 0, "%+v", test)
		require.NotContains(t, slice.Labels, discoveryv1.LabelServiceName, "the object of the API is not modified")
	}
}

func TestSliceOfNoImport(t *testing.T) {
	for _, labels := range []map[string]string{nil, {}, {discoveryv1.LabelServiceName: "web"}} {
		slice := sliceOf("here")
		slice.Labels = labels
		converted, err := converter{}.endpointSlice(slice)
		require.NoError(t, err)
		require.Nil(t, converted)
	}
}

func TestExtensionsOfImports(t *testing.T) {
	extend, err := kubeapi.CopyKeys("acme.example/*")
	require.NoError(t, err)
	object := importOf(t, "{type: ClusterSetIP, ips: [10.42.0.1], ports: [{port: 80}]}")
	object.SetAnnotations(map[string]string{"acme.example/mode": "fast"})
	converted, err := converter{extend: extend}.serviceImport(object)
	require.NoError(t, err)
	value, found := converted.(*watchers.Service).Extensions.Get("acme.example/mode")
	require.True(t, found)
	require.Equal(t, "fast", value)
}

func TestObjectsOfOtherTypes(t *testing.T) {
	_, err := converter{}.serviceImport(7)
	require.ErrorContains(t, err, "unsupported type int")
	_, err = converter{}.endpointSlice(7)
	require.ErrorContains(t, err, "unsupported type int")
}
