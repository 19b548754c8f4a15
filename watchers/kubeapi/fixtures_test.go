// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/watchers"
)

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}},
	}
	if change != nil {
		change(s)
	}
	return s
}

// stored returns an object as readers of a store get it.
func stored[T watchers.Object](t *testing.T, object T) T {
	var key watchers.Key
	snapshot := watchers.NewStore().Update(func(tx *watchers.Tx) { key = tx.Set(object) })
	got, _ := snapshot.Get(key)
	require.IsType(t, object, got)
	return got.(T)
}

func slice(change func(*discoveryv1.EndpointSlice)) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80))}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}}},
	}
	if change != nil {
		change(s)
	}
	return s
}

func node(change func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}
	if change != nil {
		change(n)
	}
	return n
}

func addrs(list ...string) (out []netip.Addr) {
	for _, s := range list {
		a, _ := netip.ParseAddr(s)
		out = append(out, a)
	}
	return out
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func fieldMessages(t *testing.T, object string, problems []watchers.Problem) (out []string) {
	t.Helper()
	for _, p := range problems {
		require.Equal(t, object, p.Object)
		out = append(out, p.Field+": "+p.Message)
	}
	return out
}
