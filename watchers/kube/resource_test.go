// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestSelectorsOfDefaultProxy(t *testing.T) {
	withAndWithoutStreamedLists(t, func(t *testing.T, s *apiServer) {
		store := watchers.NewStore()
		stop := run(t, s.client(t), Config{NodeName: "n1"}, store)
		await(t, store, "the empty lists", synced)
		stop()
		check := func(path, labels, fields string) {
			require.NotEmpty(t, s.requestsTo(path))
			for _, q := range s.requestsTo(path) {
				require.Equal(t, labels, q.Get("labelSelector"))
				require.Equal(t, fields, q.Get("fieldSelector"))
				require.True(t, strings.HasPrefix(q.Get("accept"), runtime.ContentTypeProtobuf), q.Get("accept"))
				require.True(t, strings.HasSuffix(q.Get("agent"), "/kpng"), q.Get("agent"))
			}
		}
		check(servicesPath, "!service.kubernetes.io/service-proxy-name", "spec.clusterIP!=None")
		check(slicesPath, "!service.kubernetes.io/headless", "")
		check(nodesPath, "", "metadata.name=n1")
	})
}

// TestIN05OnlyNeededResourcesAreWatched bounds the load on the API server: a proxy does
// not need Pods, Endpoints or Namespaces.
func TestIN05OnlyNeededResourcesAreWatched(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	store := watchers.NewStore()
	stop := run(t, s.client(t), Config{NodeName: "n1"}, store)
	await(t, store, "the empty lists", synced)
	require.Eventually(t, func() bool { return len(s.requestsTo("/apis/networking.k8s.io/v1/servicecidrs")) > 0 }, 20*time.Second, time.Millisecond)
	stop()
	paths := map[string]bool{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.requests {
		paths[q.Get("path")] = true
	}
	require.Equal(t, map[string]bool{servicesPath: true, slicesPath: true, nodesPath: true, "/apis/networking.k8s.io/v1/servicecidrs": true}, paths)
}

func TestSelectorsOfOtherConfigurations(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	store := watchers.NewStore()
	stop := run(t, s.client(t), Config{Nodes: NodesNone, Namespace: "ns", Filter: kubeapi.Filter{ProxyName: "mine"}}, store)
	await(t, store, "the empty lists", synced)
	stop()
	require.Empty(t, s.requestsTo(nodesPath))
	require.Empty(t, s.requestsTo(servicesPath), "the watcher must not read all namespaces")
	inNamespace := s.requestsTo("/api/v1/namespaces/ns/services")
	require.NotEmpty(t, inNamespace)
	require.Equal(t, "service.kubernetes.io/service-proxy-name=mine", inNamespace[0].Get("labelSelector"))
	require.NotEmpty(t, s.requestsTo("/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"))

	s = newAPIServer(t)
	s.set(svc("web"), svc("other-proxy", func(o *corev1.Service) { o.Labels = map[string]string{kubeapi.LabelProxyName: "other"} }))
	store = watchers.NewStore()
	run(t, s.client(t), Config{Nodes: NodesNone, Filter: kubeapi.Filter{AllProxies: true}}, store)
	all := await(t, store, "the Services of all proxies", synced)
	require.Empty(t, s.requestsTo(servicesPath)[0].Get("labelSelector"))
	require.Nil(t, all.Service(id("web")).ProxyName)
	require.Equal(t, "other", *all.Service(id("other-proxy")).ProxyName)

	s = newAPIServer(t)
	s.set(node("n1"), node("n2"))
	store = watchers.NewStore()
	run(t, s.client(t), Config{Nodes: NodesAll}, store)
	snap := await(t, store, "nodes", synced)
	require.NotNil(t, snap.Node("n1"))
	require.NotNil(t, snap.Node("n2"))
}
