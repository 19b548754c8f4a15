// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	_ "embed"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/watchers/mcs"
)

//go:embed testdata/serviceimports.yaml
var serviceImportsCRD []byte

// TestClusterSetIP: packets to the ClusterSetIP of a ServiceImport reach the endpoints of its
// slices, beside a Service of the same name. The watcher starts before the API server has
// ServiceImports.
func TestClusterSetIP(t *testing.T) {
	fx := newFixture(t)
	rest, err := fx.control.RESTConfig()
	require.NoError(t, err)
	objects, err := dynamic.NewForConfig(rest)
	require.NoError(t, err)
	sinks := fx.runEverySink(t, "--from", "kube", "--from", "mcs:here")

	crds := objects.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	_, err = crds.Create(t.Context(), object(t, string(serviceImportsCRD)), metav1.CreateOptions{})
	require.NoError(t, err)
	imports := objects.Resource(schema.GroupVersionResource{Group: "multicluster.x-k8s.io", Version: "v1beta1", Resource: "serviceimports"}).Namespace("default")
	fx.apply(t, nil, []service{plain("web", "pod1")}) // of the same name
	web := object(t, `
apiVersion: multicluster.x-k8s.io/v1beta1
kind: ServiceImport
metadata: {name: web}
spec: {type: ClusterSetIP, ips: [10.42.0.1, "fd00:111::1"], ports: [{name: web, port: 80}, {name: dns, port: 53, protocol: UDP}]}
`)
	eventually(t, syncLimit, "the API server serves ServiceImports", func() error {
		_, err := imports.Create(t.Context(), web, metav1.CreateOptions{})
		return err
	})
	for family := range 2 {
		_, err = fx.client.DiscoveryV1().EndpointSlices("default").Create(t.Context(), importedSlice(fx, family, "rpod1"), metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for _, at := range []string{"10.42.0.1", "fd00:111::1"} {
		for _, from := range []string{"pod2", "node"} {
			fx.eventuallyReaches(t, from, "tcp", netip.AddrPortFrom(netip.MustParseAddr(at), 80), "rpod1:8080")
			fx.eventuallyReaches(t, from, "udp", netip.AddrPortFrom(netip.MustParseAddr(at), 53), "rpod1:8080")
		}
	}
	local, err := fx.client.CoreV1().Services("default").Get(t.Context(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	fx.eventuallyReaches(t, "pod2", "tcp", netip.AddrPortFrom(netip.MustParseAddr(local.Spec.ClusterIP), 80), "pod1:8080")
	sinks.eventuallyHave(t, "ServiceImport:default/web", `"origin":"ServiceImport"`)
	require.NoError(t, imports.Delete(t.Context(), "web", metav1.DeleteOptions{}))
	eventually(t, syncLimit, "the ClusterSetIP does not answer", func() error {
		got := fx.Places["pod2"].Probe(t.Context(), "tcp", netip.MustParseAddrPort("10.42.0.1:80"), 200*time.Millisecond)
		if got.Server != cluster.Timeout && got.Server != cluster.Refused {
			return fmt.Errorf("got %s", got.Server)
		}
		return nil
	})
	fx.eventuallyReaches(t, "pod2", "tcp", netip.AddrPortFrom(netip.MustParseAddr(local.Spec.ClusterIP), 80), "pod1:8080")
}

// importedSlice returns an EndpointSlice of the ServiceImport web, from another cluster. The node
// of its endpoint has the name of the node here.
func importedSlice(fx *fixture, family int, place string) *discoveryv1.EndpointSlice {
	web, dns, number, node := "web", "dns", int32(cluster.ServerPort), cluster.NodeName
	udp := corev1.ProtocolUDP
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "imported-web-", Labels: map[string]string{
			mcs.LabelServiceName: "web", mcs.LabelSourceCluster: "there",
		}},
		AddressType: []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6}[family],
		Ports:       []discoveryv1.EndpointPort{{Name: &web, Port: &number}, {Name: &dns, Port: &number, Protocol: &udp}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{fx.Places[place].Addrs[family].String()}, NodeName: &node}},
	}
}

func (fx *fixture) eventuallyReaches(t *testing.T, from, protocol string, to netip.AddrPort, want string) {
	t.Helper()
	eventually(t, syncLimit, fmt.Sprintf("%s to %v/%s", from, to, protocol), func() error {
		if got := fx.Places[from].Probe(t.Context(), protocol, to, time.Second); got.Server != want {
			return fmt.Errorf("got %s, want %s", got.Server, want)
		}
		return nil
	})
}

// object decodes an object of the API from YAML.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &u.Object))
	return u
}
