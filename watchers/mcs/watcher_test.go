// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package mcs

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	fakedynamic "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A fixture is a running watcher of a fake API server.
type fixture struct {
	t       *testing.T
	imports dynamic.NamespaceableResourceInterface
	client  kubernetes.Interface
	store   *watchers.Store
	stop    func()
}

// newFixture starts the watcher, joined with others.
func newFixture(t *testing.T, cfg Config, others ...watchers.Source) *fixture {
	kinds := map[schema.GroupVersionResource]string{groupVersionResource(): "ServiceImportList"}
	imports := fakedynamic.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	f := &fixture{t: t, imports: imports.Resource(groupVersionResource()), client: fake.NewClientset(), store: watchers.NewStore()}
	w, err := New(imports, f.client, cfg)
	require.NoError(t, err)
	joined, err := watchers.Join(watchers.JoinConfig{}, append(others, watchers.Source{Name: "mcs", Watcher: w})...)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- joined.Run(ctx, f.store) }()
	f.stop = func() {
		cancel()
		require.NoError(t, <-done)
	}
	t.Cleanup(cancel)
	return f
}

// await waits until the store fulfils a condition.
func (f *fixture) await(condition func(watchers.Snapshot) bool) watchers.Snapshot {
	f.t.Helper()
	var s watchers.Snapshot
	require.Eventually(f.t, func() bool {
		s = f.store.Snapshot()
		return condition(s)
	}, 10*time.Second, time.Millisecond)
	return s
}

func imported() watchers.ServiceName {
	return watchers.ServiceName{Namespace: "ns", Name: "web", Origin: Origin}
}

func TestStoreFollowsImports(t *testing.T) {
	f := newFixture(t, Config{})
	ctx := t.Context()
	f.await(watchers.Snapshot.Synced)
	const spec = "{type: ClusterSetIP, ips: [10.42.0.1], ports: [{port: 80}]}"
	_, err := f.imports.Namespace("ns").Create(ctx, importOf(t, spec), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = f.client.DiscoveryV1().EndpointSlices("ns").Create(ctx, sliceOf("there"), metav1.CreateOptions{})
	require.NoError(t, err)
	slices := func(s watchers.Snapshot) (n int) {
		for range s.EndpointSlices(imported()) {
			n++
		}
		return n
	}
	f.await(func(s watchers.Snapshot) bool { return s.Service(imported()) != nil && slices(s) == 1 })

	_, err = f.imports.Namespace("ns").Update(ctx, importOf(t, "{type: Headless, ports: [{port: 80}]}"), metav1.UpdateOptions{})
	require.NoError(t, err)
	f.await(func(s watchers.Snapshot) bool { return s.Service(imported()) == nil })
	_, err = f.imports.Namespace("ns").Update(ctx, importOf(t, spec), metav1.UpdateOptions{})
	require.NoError(t, err)
	f.await(func(s watchers.Snapshot) bool { return s.Service(imported()) != nil })

	require.NoError(t, f.client.DiscoveryV1().EndpointSlices("ns").Delete(ctx, "web-1", metav1.DeleteOptions{}))
	f.await(func(s watchers.Snapshot) bool { return slices(s) == 0 })
	require.NoError(t, f.imports.Namespace("ns").Delete(ctx, "web", metav1.DeleteOptions{}))
	f.await(func(s watchers.Snapshot) bool { return s.Service(imported()) == nil })
	f.stop()
}

// A fixedSource is a source of objects that do not change.
type fixedSource []watchers.Object

func (f fixedSource) Run(ctx context.Context, store *watchers.Store) error {
	store.Update(func(tx *watchers.Tx) {
		for _, o := range f {
			tx.Set(o)
		}
		tx.SetSynced()
	})
	<-ctx.Done()
	return nil
}

// TestClusterWithoutAPI: the store does not wait for an API that the cluster does not have, and
// follows it once it exists. Objects remain while it is absent.
func TestClusterWithoutAPI(t *testing.T) {
	kinds := map[schema.GroupVersionResource]string{groupVersionResource(): "ServiceImportList"}
	imports := fakedynamic.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	var absent atomic.Bool
	absent.Store(true)
	imports.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		if absent.Load() {
			return true, nil, apierrors.NewGenericServerResponse(404, "list", schema.GroupResource{Group: group, Resource: resource}, "", "404 page not found", 0, true)
		}
		return false, nil, nil
	})
	w, err := New(imports, fake.NewClientset(), Config{})
	require.NoError(t, err)
	w.backoff = &wait.Backoff{Duration: time.Millisecond, Steps: 1}
	f := &fixture{t: t, imports: imports.Resource(groupVersionResource()), store: watchers.NewStore()}
	run := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx, f.store) }()
		return func() {
			cancel()
			require.NoError(t, <-done)
		}
	}
	stop := run()
	f.await(watchers.Snapshot.Synced)
	_, err = f.imports.Namespace("ns").Create(t.Context(), importOf(t, "{type: ClusterSetIP, ips: [10.42.0.1], ports: [{port: 80}]}"), metav1.CreateOptions{})
	require.NoError(t, err)
	absent.Store(false)
	f.await(func(s watchers.Snapshot) bool { return s.Service(imported()) != nil })
	stop()
	absent.Store(true)
	failed := make(chan struct{})
	once := sync.OnceFunc(func() { close(failed) })
	imports.PrependReactor("list", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
		defer once()
		return false, nil, nil
	})
	stop = run()
	<-failed
	stop()
	require.NotNil(t, f.store.Snapshot().Service(imported()))
}

// A Service and a ServiceImport with equal names, and slices with equal names of both, coexist
// in a joined store.
func TestImportsCoexistWithServices(t *testing.T) {
	both := sliceOf("here")
	both.Labels[discoveryv1.LabelServiceName] = "web"
	local, err := kubeapi.EndpointSlice(both)
	require.NoError(t, err)
	services := fixedSource{&watchers.Service{Name: watchers.ServiceName{Namespace: "ns", Name: "web"}}, local}
	f := newFixture(t, Config{Cluster: "here"}, watchers.Source{Name: "kube", Watcher: services})
	_, err = f.imports.Namespace("ns").Create(t.Context(), importOf(t, "{type: ClusterSetIP, ips: [10.42.0.1], ports: [{port: 80}]}"), metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = f.client.DiscoveryV1().EndpointSlices("ns").Create(t.Context(), both, metav1.CreateOptions{})
	require.NoError(t, err)
	s := f.await(func(s watchers.Snapshot) bool { return s.Service(imported()) != nil && s.Len() == 5 })
	require.NotNil(t, s.Service(watchers.ServiceName{Namespace: "ns", Name: "web"}))
	f.stop()
}

func TestConfigIsChecked(t *testing.T) {
	client := fake.NewClientset()
	_, err := New(nil, client, Config{})
	require.ErrorContains(t, err, "imports: required")
	imports := fakedynamic.NewSimpleDynamicClient(runtime.NewScheme())
	_, err = New(imports, nil, Config{})
	require.ErrorContains(t, err, "slices: required")
	_, err = New(imports, client, Config{Details: 1 << 7})
	require.ErrorContains(t, err, "Config.Details: 0x80 is unknown")
}
