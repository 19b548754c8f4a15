// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestStoreFollowsAPIServer(t *testing.T) {
	withAndWithoutStreamedLists(t, func(t *testing.T, s *apiServer) {
		labelled := func(o *corev1.Service) { o.Labels = map[string]string{kubeapi.LabelProxyName: "other"} }
		headless := slice("h-1", "h")
		headless.Labels[corev1.IsHeadlessService] = ""
		s.set(svc("web"), slice("web-1", "web"), node("n1"), node("n2"), svc("other-proxy", labelled), headless,
			svc("none", func(o *corev1.Service) { o.Spec.ClusterIP = "None" }))
		store := watchers.NewStore()
		run(t, s.client(t), Config{NodeName: "n1"}, store)

		snap := await(t, store, "the first lists", synced)
		require.Equal(t, 3+1, snap.Len(), "one object of each kind, and the marker for synced")
		require.NotNil(t, snap.Service(id("web")))

		t.Run("IN-03 only the own node", func(t *testing.T) {
			require.NotNil(t, snap.Node("n1"))
			require.Nil(t, snap.Node("n2"))
		})
		t.Run("IN-01 label added and removed", func(t *testing.T) {
			s.set(svc("web", labelled))
			await(t, store, "the removal of the Service", func(s watchers.Snapshot) bool { return s.Service(id("web")) == nil })
			s.set(svc("web"))
			await(t, store, "the return of the Service", func(s watchers.Snapshot) bool { return s.Service(id("web")) != nil })
		})
		t.Run("IN-02 headless label added", func(t *testing.T) {
			s.set(slice("h-2", "web"))
			await(t, store, "the slice", func(s watchers.Snapshot) bool { return len(slicesOf(s, "web")) == 2 })
			o := slice("h-2", "web")
			o.Labels[corev1.IsHeadlessService] = ""
			s.set(o)
			await(t, store, "the removal of the slice", func(s watchers.Snapshot) bool { return len(slicesOf(s, "web")) == 1 })
		})
		t.Run("IN-54 metadata changes are no store changes", func(t *testing.T) {
			rev := store.Snapshot().Revision()
			s.set(svc("web", func(o *corev1.Service) { o.Annotations = map[string]string{"a": "b"} }), svc("marker"))
			snap := await(t, store, "the marker", func(s watchers.Snapshot) bool { return s.Service(id("marker")) != nil })
			require.Equal(t, rev+1, snap.Revision(), "only the marker is a change")
		})
		t.Run("IN-51 deletion", func(t *testing.T) {
			s.delete(svc("web"))
			s.delete(slice("web-1", "web"))
			s.delete(node("n1"))
			await(t, store, "deletions", func(s watchers.Snapshot) bool {
				return s.Service(id("web")) == nil && len(slicesOf(s, "web")) == 0 && s.Node("n1") == nil
			})
		})
		t.Run("slice moves to another Service and loses its label", func(t *testing.T) {
			s.set(slice("m", "a"))
			await(t, store, "the slice of a", func(s watchers.Snapshot) bool { return len(slicesOf(s, "a")) == 1 })
			s.set(slice("m", "b"))
			await(t, store, "the move to b", func(s watchers.Snapshot) bool { return len(slicesOf(s, "a")) == 0 && len(slicesOf(s, "b")) == 1 })
			o := slice("m", "b")
			o.Labels = nil
			s.set(o)
			await(t, store, "the removal of the slice", func(s watchers.Snapshot) bool { return len(slicesOf(s, "b")) == 0 })
		})
	})
}

// TestSyncedAfterLastResource checks that the store is not synced before each resource
// has been listed, in any order.
func TestSyncedAfterLastResource(t *testing.T) {
	for _, last := range []string{servicesPath, slicesPath, nodesPath} {
		t.Run(last, func(t *testing.T) {
			leakCheck(t)
			s := newAPIServer(t)
			release := make(chan struct{})
			s.hold[last] = release
			s.set(svc("web"), slice("web-1", "web"), node("n1"))
			store := watchers.NewStore()
			run(t, s.client(t), Config{NodeName: "n1"}, store)
			snap := await(t, store, "the other two resources", func(s watchers.Snapshot) bool { return s.Len() == 2 })
			require.False(t, snap.Synced())
			close(release)
			snap = await(t, store, "all resources", synced)
			require.Equal(t, 4, snap.Len())
		})
	}
}

// TestRelistAppliesOnlyDifferences expires the resource version: the next list deletes
// objects that no longer exist and does not touch unchanged ones.
func TestRelistAppliesOnlyDifferences(t *testing.T) {
	withAndWithoutStreamedLists(t, func(t *testing.T, s *apiServer) {
		s.set(svc("kept"), svc("deleted"), slice("s", "kept"), slice("g", "deleted"), node("n1"))
		store := watchers.NewStore()
		run(t, s.client(t), Config{NodeName: "n1"}, store)
		before := await(t, store, "the first lists", synced)

		s.disconnect(http.StatusServiceUnavailable) // no new watch before the changes below are complete
		s.delete(svc("deleted"))
		s.delete(slice("g", "deleted"))
		s.set(svc("new"))
		s.expireHistory()
		s.restore()

		snap := await(t, store, "the new list", func(s watchers.Snapshot) bool {
			return s.Service(id("new")) != nil && s.Service(id("deleted")) == nil && len(slicesOf(s, "deleted")) == 0
		})
		require.Same(t, before.Service(id("kept")), snap.Service(id("kept")))
		require.Equal(t, before.Revision()+3, snap.Revision(), "one object added, two deleted")
		s.set(svc("later"))
		await(t, store, "a change after the list", func(s watchers.Snapshot) bool { return s.Service(id("later")) != nil })
	})
}

// TestEndedWatchResumesWithoutList checks that a watch that ends without an error is
// resumed at the last resource version.
func TestEndedWatchResumesWithoutList(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	s.set(svc("web"))
	store := watchers.NewStore()
	run(t, s.client(t), Config{Nodes: NodesNone}, store)
	await(t, store, "the first lists", synced)
	for _, name := range []string{"a", "b", "c"} {
		s.set(svc(name))
		await(t, store, name, func(s watchers.Snapshot) bool { return s.Service(id(name)) != nil })
		s.disconnect(0)
	}
	s.set(svc("d"))
	await(t, store, "d", func(s watchers.Snapshot) bool { return s.Service(id("d")) != nil })
	streamed := 0
	for _, q := range s.requestsTo(servicesPath) {
		require.NotEmpty(t, q.Get("watch"))
		if q.Get("sendInitialEvents") == "true" {
			streamed++
		}
	}
	require.Equal(t, 1, streamed)
}

// TestCancelWithoutServer checks that Run returns during a backoff pause of the
// reflector, which ignores its context.
func TestCancelWithoutServer(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	client := s.client(t)
	s.Close()
	w := mustNew(t, client, Config{Nodes: NodesNone})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	store := watchers.NewStore()
	require.NoError(t, w.Run(ctx, store))
	require.Less(t, time.Since(start), 700*time.Millisecond, "the first pause of client-go is at least 800 ms")
	require.False(t, store.Snapshot().Synced())
}

func TestCancelWhileListing(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	s.plainListsOnly = true
	s.hold[servicesPath] = make(chan struct{})
	store := watchers.NewStore()
	stop := run(t, s.client(t), Config{NodeName: "n1"}, store)
	require.Eventually(t, func() bool { return len(s.requestsTo(servicesPath)) > 0 }, 20*time.Second, time.Millisecond)
	stop()
	require.False(t, store.Snapshot().Synced())
}

func TestRunAgain(t *testing.T) {
	withAndWithoutStreamedLists(t, func(t *testing.T, s *apiServer) {
		s.set(svc("kept"), svc("deleted"))
		store, client := watchers.NewStore(), s.client(t)
		stop := run(t, client, Config{Nodes: NodesNone}, store)
		await(t, store, "the first lists", synced)
		stop()
		s.delete(svc("deleted"))
		run(t, client, Config{Nodes: NodesNone}, store)
		await(t, store, "the second list", func(s watchers.Snapshot) bool { return s.Service(id("deleted")) == nil })
		require.NotNil(t, store.Snapshot().Service(id("kept")))
	})
}

func TestNewValidatesConfig(t *testing.T) {
	client := newAPIServer(t).client(t)
	for want, cfg := range map[string]Config{
		"Config.NodeName: required when Config.Nodes is NodesOwn":        {},
		"Config.Nodes: 9 is not NodesOwn, NodesAll or NodesNone":         {Nodes: 9},
		`Config.Filter: ProxyName "no, no": not a valid label value`:     {Nodes: NodesNone, Filter: kubeapi.Filter{ProxyName: "no, no"}},
		`Config.Filter: ProxyName "mine": must be empty with AllProxies`: {Nodes: NodesNone, Filter: kubeapi.Filter{ProxyName: "mine", AllProxies: true}},
	} {
		_, err := New(client, cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := New(nil, Config{Nodes: NodesNone})
	require.ErrorContains(t, err, "client: required")
}
