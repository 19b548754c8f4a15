// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"maps"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// headless returns the objects of a headless Service with one endpoint.
func headless(name string) (*corev1.Service, *discoveryv1.EndpointSlice) {
	e := slice(name+"-x", name)
	e.Labels[corev1.IsHeadlessService] = ""
	e.Endpoints[0].Hostname, e.Endpoints[0].Zone = new("db-0"), new("z1")
	e.Endpoints[0].TargetRef = &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "db-0"}
	return svc(name, func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), e
}

func TestHeadlessServicesAndDetailsOnRequest(t *testing.T) {
	withAndWithoutStreamedLists(t, func(t *testing.T, s *apiServer) {
		service, e := headless("db")
		s.set(service, e, svc("web"))
		store := watchers.NewStore()
		run(t, s.client(t), Config{Nodes: NodesNone, Filter: kubeapi.Filter{Details: kubeapi.DetailsAll}}, store)
		snap := await(t, store, "the lists", synced)
		require.True(t, snap.Service(id("db")).Details.Headless)
		require.Nil(t, snap.Service(id("web")).Details)
		require.Equal(t, []watchers.EndpointDetails{{Hostname: "db-0", Zone: "z1", Target: watchers.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "db-0"}}},
			slicesOf(snap, "db")[0].Details)
		for _, q := range append(s.requestsTo(servicesPath), s.requestsTo(slicesPath)...) {
			require.NotContains(t, q.Get("labelSelector")+q.Get("fieldSelector"), "eadless")
			require.Empty(t, q.Get("fieldSelector"))
		}
		later, _ := headless("later")
		s.set(later)
		await(t, store, "a headless Service", func(s watchers.Snapshot) bool { return s.Service(id("later")) != nil })
		s.delete(service)
		await(t, store, "its deletion", func(s watchers.Snapshot) bool { return s.Service(id("db")) == nil })
	})
}

// TestWhatIsNotRequestedIsNotWatched: neither the watches nor the store of a proxy change with
// the details that others can request.
func TestWhatIsNotRequestedIsNotWatched(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	service, e := headless("db")
	withDetails := slice("web-x", "web")
	withDetails.Endpoints[0] = e.Endpoints[0]
	s.set(service, e, svc("web"), withDetails)
	store := watchers.NewStore()
	run(t, s.client(t), Config{Nodes: NodesNone}, store)
	snap := await(t, store, "the lists", synced)
	require.Equal(t, 3, snap.Len(), "web, its slice and the synced marker")
	require.Nil(t, slicesOf(snap, "web")[0].Details)
	require.Equal(t, "spec.clusterIP!=None", s.requestsTo(servicesPath)[0].Get("fieldSelector"))
	require.Equal(t, "!service.kubernetes.io/headless", s.requestsTo(slicesPath)[0].Get("labelSelector"))
}

// TestExtendRunsOncePerVersion counts the calls for each version of each object.
func TestExtendRunsOncePerVersion(t *testing.T) {
	withAndWithoutStreamedLists(t, func(t *testing.T, s *apiServer) {
		const mode = "acme.example/mode"
		with := func(o runtime.Object, value string) runtime.Object {
			o.(metav1.Object).SetAnnotations(map[string]string{mode: value})
			return o
		}
		var mu sync.Mutex
		calls := map[string]int{}
		extend := func(o metav1.Object) (watchers.Extensions, []watchers.Problem) {
			value := o.GetAnnotations()[mode]
			mu.Lock()
			defer mu.Unlock()
			calls[o.GetName()+" "+value]++
			return localsink.NewExtensions(localsink.Extension{Key: "mode", Value: value}), nil
		}
		s.set(with(svc("web"), "1"), with(slice("web-x", "web"), "1"), with(node("n1"), "1"))
		store := watchers.NewStore()
		stop := run(t, s.client(t), Config{NodeName: "n1", Extend: extend}, store)
		await(t, store, "the lists", synced)
		s.set(with(svc("web"), "2"))
		s.set(with(slice("web-x", "web"), "2"))
		s.set(with(node("n1"), "2"))
		has := func(x watchers.Extensions, want string) bool {
			value, _ := x.Get("mode")
			return value == want
		}
		await(t, store, "the changed annotations", func(s watchers.Snapshot) bool {
			return has(s.Service(id("web")).Extensions, "2") && has(slicesOf(s, "web")[0].Extensions, "2") && has(s.Node("n1").Extensions, "2")
		})
		s.delete(svc("web"))
		await(t, store, "a deletion", func(s watchers.Snapshot) bool { return s.Service(id("web")) == nil })
		stop()
		require.Equal(t, map[string]int{"web 1": 1, "web 2": 1, "web-x 1": 1, "web-x 2": 1, "n1 1": 1, "n1 2": 1}, maps.Clone(calls))
	})
}

func TestInvalidDetails(t *testing.T) {
	_, err := New(newAPIServer(t).client(t), Config{Nodes: NodesNone, Filter: kubeapi.Filter{Details: 0x80}})
	require.EqualError(t, err, "watchers/kube: Config.Filter: Details: 0x80 is unknown")
}
