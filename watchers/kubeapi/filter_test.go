// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestFilter(t *testing.T) {
	const proxyName, headless = kubeapi.LabelProxyName, corev1.IsHeadlessService
	services := []struct {
		id        string
		proxyName string // "*" selects AllProxies
		labels    map[string]string
		clusterIP string
		want      bool
	}{
		{"IN-01 default proxy, no label", "", nil, "10.0.0.1", true},
		{"IN-01 default proxy, label of another proxy", "", map[string]string{proxyName: "other"}, "10.0.0.1", false},
		{"IN-01 default proxy, empty label", "", map[string]string{proxyName: ""}, "10.0.0.1", false},
		{"IN-01 default proxy, headless", "", nil, "None", false},
		{"IN-01 default proxy, cluster IP not yet allocated", "", nil, "", true},
		{"IN-01 named proxy, its label", "mine", map[string]string{proxyName: "mine"}, "10.0.0.1", true},
		{"IN-01 named proxy, headless", "mine", map[string]string{proxyName: "mine"}, "None", false},
		{"IN-01 named proxy, label of another proxy", "mine", map[string]string{proxyName: "other"}, "10.0.0.1", false},
		{"IN-01 named proxy, no label", "mine", nil, "10.0.0.1", false},
		{"IN-01 all proxies, no label", "*", nil, "10.0.0.1", true},
		{"IN-01 all proxies, label", "*", map[string]string{proxyName: "other"}, "10.0.0.1", true},
		{"IN-01 all proxies, empty label", "*", map[string]string{proxyName: ""}, "10.0.0.1", true},
		{"IN-01 all proxies, headless", "*", nil, "None", false},
	}
	for _, c := range services {
		t.Run(c.id, func(t *testing.T) {
			f := kubeapi.Filter{ProxyName: c.proxyName}
			if c.proxyName == "*" {
				f = kubeapi.Filter{AllProxies: true}
			}
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}, Spec: corev1.ServiceSpec{ClusterIP: c.clusterIP}}
			require.Equal(t, c.want, f.Service(s))
			if c.clusterIP != "None" && !f.AllProxies {
				require.Equal(t, c.want, kubeapi.Service(s).IsFor(c.proxyName), "Service.IsFor agrees with the filter")
			}

			byLabel, err := labels.Parse(f.ServiceLabels())
			require.NoError(t, err)
			byField, err := fields.ParseSelector(f.ServiceFields())
			require.NoError(t, err)
			selected := byLabel.Matches(labels.Set(c.labels)) && byField.Matches(fields.Set{"spec.clusterIP": c.clusterIP})
			require.Equal(t, c.want, selected, "the selectors agree with the predicate")
		})
	}
	for id, c := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"IN-02 not headless":                {nil, true},
		"IN-02 headless":                    {map[string]string{headless: ""}, false},
		"IN-02 proxy name label is ignored": {map[string]string{proxyName: "other"}, true},
	} {
		t.Run(id, func(t *testing.T) {
			var f kubeapi.Filter
			require.Equal(t, c.want, f.EndpointSlice(&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}}))
			byLabel, err := labels.Parse(f.EndpointSliceLabels())
			require.NoError(t, err)
			require.Equal(t, c.want, byLabel.Matches(labels.Set(c.labels)))
		})
	}
	require.NoError(t, kubeapi.Filter{ProxyName: "mine"}.Validate())
	require.ErrorContains(t, kubeapi.Filter{ProxyName: "not, one"}.Validate(), `"not, one"`)
	require.NoError(t, kubeapi.Filter{AllProxies: true}.Validate())
	require.ErrorContains(t, kubeapi.Filter{ProxyName: "mine", AllProxies: true}.Validate(), `"mine"`)
}

func TestFilterObject(t *testing.T) {
	var f kubeapi.Filter
	t.Run("IN-01 excluded Service", func(t *testing.T) {
		object, err := f.Object(service(func(s *corev1.Service) { s.Spec.ClusterIP = "None" }))
		require.NoError(t, err)
		require.Nil(t, object)
	})
	t.Run("IN-40 slice without Service label", func(t *testing.T) {
		for _, labels := range []map[string]string{nil, {discoveryv1.LabelServiceName: ""}} {
			object, err := f.Object(slice(func(s *discoveryv1.EndpointSlice) { s.Labels = labels }))
			require.ErrorContains(t, err, "EndpointSlice ns/web-1: metadata.labels: kubernetes.io/service-name is missing")
			require.Nil(t, object)
		}
	})
	t.Run("IN-40 slice without namespace or name", func(t *testing.T) {
		for _, m := range []metav1.ObjectMeta{{Name: "a"}, {Namespace: "a"}} {
			m.Labels = slice(nil).Labels
			_, err := f.Object(&discoveryv1.EndpointSlice{ObjectMeta: m})
			require.ErrorContains(t, err, "namespace or name is missing")
		}
	})
	t.Run("IN-07 unsupported types", func(t *testing.T) {
		for _, in := range []any{&corev1.Pod{}, &corev1.Endpoints{}, 7, nil} { //nolint:staticcheck // Endpoints are deprecated and must be rejected
			object, err := f.Object(in)
			require.ErrorContains(t, err, "want a Service, EndpointSlice, Node or ServiceCIDR")
			require.Nil(t, object)
		}
	})
	t.Run("IN-07 nil pointers", func(t *testing.T) {
		for _, in := range []any{(*corev1.Service)(nil), (*discoveryv1.EndpointSlice)(nil), (*corev1.Node)(nil), (*networkingv1.ServiceCIDR)(nil)} {
			object, err := f.Object(in)
			require.NoError(t, err)
			require.Nil(t, object)
		}
	})

	store := watchers.NewStore()
	for _, in := range []any{service(nil), slice(nil), node(nil)} {
		object, err := f.Object(in)
		require.NoError(t, err)
		store.Update(func(tx *watchers.Tx) {
			key := tx.Set(object)
			tx.Retain(key.Kind, func(k watchers.Key) bool { return k == key })
		})
	}
	require.Equal(t, 3, store.Snapshot().Len(), "Set returns the key of the object")
}

// TestFilterWithoutSlicesOfClusterIPs checks that what may belong to a headless Service is kept.
func TestFilterWithoutSlicesOfClusterIPs(t *testing.T) {
	const headless = corev1.IsHeadlessService
	for id, c := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"headless, of the controller":             {map[string]string{headless: "", discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"}, true},
		"headless, of another":                    {map[string]string{headless: ""}, true},
		"not headless, of the controller":         {map[string]string{discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io"}, false},
		"of the mirroring controller":             {map[string]string{discoveryv1.LabelManagedBy: "endpointslicemirroring-controller.k8s.io"}, true},
		"by hand, so its Service may be headless": {nil, true},
	} {
		t.Run(id, func(t *testing.T) {
			slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}}
			f := kubeapi.Filter{Details: kubeapi.DetailHeadless, NoClusterIPEndpoints: true}
			require.Equal(t, c.want, f.EndpointSlice(slice))
			f.NoClusterIPEndpoints = false
			require.True(t, f.EndpointSlice(slice))
		})
	}
}
