// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// modeKey is the annotation of a vendor.
const modeKey = "acme.example/mode"

// TestExtensionsAndDetailsOfTheAPIServer watches a real API server with and without extensions
// and details. A headless Service is in the store that requests it, and on no node.
func TestExtensionsAndDetailsOfTheAPIServer(t *testing.T) {
	fx := newFixture(t)
	headless := edited(service{name: "db", ports: []string{"5432/tcp"}}, func(s *corev1.ServiceSpec) { s.ClusterIP = corev1.ClusterIPNone })
	headless.slices = []slice{{endpoints: []string{"pod1"}, labels: map[string]string{corev1.IsHeadlessService: ""}}}
	balanced := edited(service{name: "web", kind: corev1.ServiceTypeLoadBalancer, ports: []string{"80/tcp"}, slices: endpoints("pod1", "pod2")},
		func(s *corev1.ServiceSpec) {
			s.LoadBalancerClass, s.Ports[0].AppProtocol = new("acme.example/lb"), new("kubernetes.io/h2c")
		})
	fx.apply(t, nil, []service{headless, balanced, {name: "away", kind: corev1.ServiceTypeExternalName}})
	fx.annotate(t, "web", modeKey, "dsr")

	extend, err := kubeapi.CopyKeys("annotation:acme.example/*")
	require.NoError(t, err)
	plain := watch(t, fx, kube.Config{})
	full := watch(t, fx, kube.Config{Filter: kubeapi.Filter{Details: kubeapi.DetailsAll}, Extend: extend})

	name := func(s string) watchers.ServiceName { return watchers.ServiceName{Namespace: namespace, Name: s} }
	snap := plain.Snapshot()
	require.Nil(t, snap.Service(name("db")), "the watch excludes headless Services")
	require.Zero(t, count(snap, name("db")))
	require.Nil(t, snap.Service(name("web")).Details)
	require.Zero(t, snap.Service(name("web")).Extensions.Len())

	snap = full.Snapshot()
	require.Equal(t, &watchers.ServiceDetails{Headless: true}, snap.Service(name("db")).Details)
	require.Equal(t, 2, count(snap, name("db")), "one slice of each family")
	require.Equal(t, &watchers.ServiceDetails{LoadBalancerClass: "acme.example/lb", AppProtocols: []string{"kubernetes.io/h2c"}}, snap.Service(name("web")).Details)
	require.Equal(t, "elsewhere.example", snap.Service(name("away")).Details.ExternalName)
	require.Equal(t, "dsr", mode(snap))

	// Changes of other annotations are no changes of the cluster state.
	before := snap.Revision()
	fx.annotate(t, "web", "other.example/note", "x")
	fx.annotate(t, "web", modeKey, "nat")
	require.Equal(t, before+1, awaitMode(t, full, "nat").Revision())

	require.Equal(t, desired(t, plain), desired(t, full, modeKey), "headless Services and details are on no node")
}

// annotate sets an annotation of a Service.
func (fx *fixture) annotate(t testing.TB, service, key, value string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, key, value)
	_, err := fx.client.CoreV1().Services(namespace).Patch(t.Context(), service, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
}

// watch runs a watcher until the test ends, and returns its synced store.
func watch(t testing.TB, fx *fixture, cfg kube.Config) *watchers.Store {
	t.Helper()
	cfg.NodeName = cluster.NodeName
	w, err := kube.New(fx.client, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	store, done := watchers.NewStore(), make(chan error, 1)
	go func() { done <- w.Run(ctx, store) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	await(t, store, watchers.Snapshot.Synced)
	// ServiceCIDRs are not required for a synced store, and would change its revision later.
	await(t, store, func(s watchers.Snapshot) bool {
		for range s.ServiceCIDRs() {
			return true
		}
		return false
	})
	return store
}

// await returns the first snapshot that meets a condition.
func await(t testing.TB, store *watchers.Store, ok func(watchers.Snapshot) bool) watchers.Snapshot {
	t.Helper()
	expired := time.After(syncLimit)
	for {
		snap := store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-expired:
			require.FailNow(t, "timeout waiting for a change of the cluster state")
		}
	}
}

func awaitMode(t testing.TB, store *watchers.Store, want string) watchers.Snapshot {
	t.Helper()
	return await(t, store, func(s watchers.Snapshot) bool { return mode(s) == want })
}

// mode returns the extension of the Service web.
func mode(s watchers.Snapshot) string {
	value, _ := s.Service(watchers.ServiceName{Namespace: namespace, Name: "web"}).Extensions.Get(modeKey)
	return value
}

// count returns the number of EndpointSlices of a Service.
func count(s watchers.Snapshot, name watchers.ServiceName) (n int) {
	for range s.EndpointSlices(name) {
		n++
	}
	return n
}

// desired returns the desired state of the node as text, without the Services' extensions;
// each must have one of the given keys.
func desired(t testing.TB, store *watchers.Store, keys ...string) (text string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, nodelocal.Follow(ctx, store, localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for svc := range u.All.All() {
			for e := range svc.Extensions.All() {
				require.Contains(t, keys, e.Key)
			}
			without := *svc
			without.Extensions = localsink.Extensions{}
			text += without.Text()
		}
		cancel()
		return nil
	}), nodelocal.Config{NodeName: cluster.NodeName}))
	return text
}
