// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	fakedynamic "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// newClient returns a fake client of an API server with the kinds of the Gateway API.
func newClient() *fakedynamic.FakeDynamicClient {
	kinds := map[schema.GroupVersionResource]string{}
	for kind, gvr := range resources() {
		kinds[gvr] = kind + "List"
	}
	return fakedynamic.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
}

// create creates an object.
func create(t *testing.T, client *fakedynamic.FakeDynamicClient, text string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &u.Object))
	gvr := resources()[u.GetKind()]
	u.SetAPIVersion(gvr.GroupVersion().String())
	_, err := client.Resource(gvr).Namespace(u.GetNamespace()).Create(t.Context(), u, metav1.CreateOptions{})
	require.NoError(t, err)
}

func newWatcher(t *testing.T, client *fakedynamic.FakeDynamicClient, services watchers.Watcher) *Watcher {
	t.Helper()
	w, err := New(client, services, Config{})
	require.NoError(t, err)
	w.backoff = &wait.Backoff{Duration: time.Millisecond, Steps: 1}
	return w
}

// start runs a watcher until the result is called.
func start(t *testing.T, w *Watcher, store *watchers.Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, store) }()
	return func() {
		cancel()
		require.NoError(t, <-done)
	}
}

func await(t *testing.T, store *watchers.Store, condition func(watchers.Snapshot) bool) {
	t.Helper()
	s := store.Snapshot()
	for late := time.After(20 * time.Second); !condition(s); s = store.Snapshot() {
		select {
		case <-s.Newer():
		case <-late:
			require.Fail(t, "timeout", "%d objects", s.Len())
		}
	}
}

// The objects of the other source pass as if there were no routes.
func TestLawsOfWatchers(t *testing.T) {
	t.Parallel()
	watchertest.TestWatcher(t, func(t *testing.T) watchertest.Harness {
		source := watchertest.NewMemory()
		source.SetSynced()
		change := func(f func(tx *watchers.Tx, o watchers.Object)) func(...watchers.Object) {
			return func(objects ...watchers.Object) {
				source.Update(func(tx *watchers.Tx) {
					for _, o := range objects {
						f(tx, o)
					}
				})
			}
		}
		return watchertest.Harness{
			Watcher: newWatcher(t, newClient(), source), AllFields: true,
			Set:    change(func(tx *watchers.Tx, o watchers.Object) { tx.Set(o) }),
			Remove: change(func(tx *watchers.Tx, o watchers.Object) { tx.Delete(tx.Set(o)) }),
		}
	})
}

// backends returns a source with the Service web.
func backends() *watchertest.Memory {
	source := watchertest.NewMemory()
	name := watchers.ServiceName{Namespace: "default", Name: "web"}
	source.SetService(&watchers.Service{
		Name: name, ClusterIP: netip.MustParseAddr("10.96.0.1"),
		Ports: []watchers.ServicePort{{Name: "http", Protocol: 6, Port: 80}},
	})
	source.SetEndpointSlice(&watchers.EndpointSlice{
		Namespace: "default", Name: "web-1", Service: name, Family: watchers.FamilyIPv4,
		Ports:     []watchers.EndpointPort{{Name: "http", Protocol: 6, Port: 8080}},
		Endpoints: []watchers.Endpoint{{Addr: netip.MustParseAddr("10.0.0.1"), Ready: true, Serving: true}},
	})
	source.SetSynced()
	return source
}

func createGateway(t *testing.T, client *fakedynamic.FakeDynamicClient) {
	t.Helper()
	create(t, client, "{kind: GatewayClass, metadata: {name: kpng}, spec: {controllerName: sigs.k8s.io/kpng}}")
	create(t, client, "{kind: Gateway, metadata: {name: gw, namespace: default}, spec: {gatewayClassName: kpng, addresses: [{value: 192.0.2.1}], listeners: [{name: tcp, port: 80, protocol: TCP}]}}")
	create(t, client, "{kind: TCPRoute, metadata: {name: web, namespace: default}, spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: web, port: 80}]}]}}")
}

func gatewayName() watchers.ServiceName {
	return watchers.ServiceName{Namespace: "default", Name: "gw", Origin: Origin}
}

func TestStoreFollowsTheAPIServer(t *testing.T) {
	t.Parallel()
	client, store := newClient(), watchers.NewStore()
	createGateway(t, client)
	w := newWatcher(t, client, backends())
	status, changed := w.Status()
	require.Empty(t, status)
	require.Nil(t, changed)
	stop := start(t, w, store)
	await(t, store, watchers.Snapshot.Synced)
	require.Len(t, store.Snapshot().Service(gatewayName()).Ports, 1, "a synced store has all routes")
	status, changed = w.Status()
	require.Len(t, status.Gateways, 1)
	require.Len(t, status.Routes, 1)

	routes := client.Resource(resources()[kindTCPRoute]).Namespace("default")
	require.NoError(t, routes.Delete(t.Context(), "web", metav1.DeleteOptions{}))
	await(t, store, func(s watchers.Snapshot) bool { return len(s.Service(gatewayName()).Ports) == 0 })
	<-changed
	status, _ = w.Status()
	require.Empty(t, status.Routes)
	stop()

	// What is deleted between two calls of Run disappears.
	require.NoError(t, client.Resource(resources()[kindGateway]).Namespace("default").Delete(t.Context(), "gw", metav1.DeleteOptions{}))
	stop = start(t, w, store)
	await(t, store, func(s watchers.Snapshot) bool { return s.Service(gatewayName()) == nil })
	stop()
}

// A kind that the API server does not have is empty, so that Services do not wait for it; when its
// definition is added, its objects appear.
func TestAbsentKindsDelayNothing(t *testing.T) {
	t.Parallel()
	client, store := newClient(), watchers.NewStore()
	present := make(chan struct{})
	absent := func(action clienttesting.Action) error {
		select {
		case <-present:
			return nil
		default:
			return apierrors.NewNotFound(action.GetResource().GroupResource(), "")
		}
	}
	client.PrependReactor("list", "tcproutes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		err := absent(action)
		return err != nil, nil, err
	})
	client.PrependWatchReactor("tcproutes", func(action clienttesting.Action) (bool, watch.Interface, error) {
		err := absent(action)
		return err != nil, nil, err
	})
	createGateway(t, client)
	stop := start(t, newWatcher(t, client, backends()), store)
	await(t, store, watchers.Snapshot.Synced)
	require.Empty(t, store.Snapshot().Service(gatewayName()).Ports)
	close(present)
	await(t, store, func(s watchers.Snapshot) bool { return len(s.Service(gatewayName()).Ports) == 1 })
	stop()
}

// An object that cannot be decoded is ignored, and the others are used.
func TestUndecodableObjectsAreIgnored(t *testing.T) {
	t.Parallel()
	client, store := newClient(), watchers.NewStore()
	createGateway(t, client)
	create(t, client, "{kind: TCPRoute, metadata: {name: a, namespace: default}, spec: {parentRefs: 7}}")
	stop := start(t, newWatcher(t, client, backends()), store)
	await(t, store, func(s watchers.Snapshot) bool { return s.Synced() && len(s.Service(gatewayName()).Ports) == 1 })
	stop()
}

func TestErrorsOfTheOtherSourceEndRun(t *testing.T) {
	t.Parallel()
	failing := watchers.Func(func(context.Context, *watchers.Store) error { return errors.New("no source") })
	require.ErrorContains(t, newWatcher(t, newClient(), failing).Run(t.Context(), watchers.NewStore()), "no source")
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	_, err := New(nil, watchertest.NewMemory(), Config{})
	require.ErrorContains(t, err, "objects: required")
	_, err = New(newClient(), nil, Config{})
	require.ErrorContains(t, err, "services: required")
	for _, name := range []string{"kpng", "kpng/gateway", "kpng.example/"} {
		_, err = New(newClient(), watchertest.NewMemory(), Config{ControllerName: name})
		require.ErrorContains(t, err, "is not DOMAIN/PATH", name)
	}
}
