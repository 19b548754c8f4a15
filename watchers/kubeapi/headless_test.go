// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// TestIN01HeadlessServicesAreNotServed: a node that shares its store with a DNS server gets
// the same desired state as one whose store has no headless Services.
func TestIN01HeadlessServicesAreNotServed(t *testing.T) {
	objects := []any{service(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, AppProtocol: new("http")}}
	}), richSlice()}
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName} {
		objects = append(objects, service(func(s *corev1.Service) {
			s.Name = "headless-" + string(kind)
			s.Spec.Type, s.Spec.ClusterIP, s.Spec.ClusterIPs = kind, "None", []string{"None"}
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
			s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, NodePort: 30080, AppProtocol: new("http")}}
			s.Spec.ExternalIPs, s.Spec.ExternalName = []string{"192.0.2.1"}, "db.example.org"
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.2"}}
		}), slice(func(s *discoveryv1.EndpointSlice) {
			s.Name = "headless-" + string(kind) + "-1"
			s.Labels = map[string]string{discoveryv1.LabelServiceName: "headless-" + string(kind), corev1.IsHeadlessService: ""}
		}))
	}
	desired := func(details kubeapi.Details, want int) (text string) {
		store := watchers.NewStore()
		snap := store.Update(func(tx *watchers.Tx) {
			for _, in := range objects {
				object, err := kubeapi.Filter{Details: details}.Object(in)
				require.NoError(t, err)
				tx.Set(object)
			}
			tx.SetSynced()
		})
		require.Equal(t, want, snap.Len())
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, nodelocal.Follow(ctx, store, localsink.Func(func(_ context.Context, u *localsink.Update) error {
			for svc := range u.All.All() {
				text += svc.Text()
			}
			cancel()
			return nil
		}), nodelocal.Config{NodeName: "n1"}))
		return text
	}
	without := desired(0, 3)
	require.Contains(t, without, "10.0.0.1:80")
	require.Equal(t, without, desired(kubeapi.DetailsAll, 3+8))
}
