// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

const (
	servicesPath = "/api/v1/services"
	slicesPath   = "/apis/discovery.k8s.io/v1/endpointslices"
	nodesPath    = "/api/v1/nodes"
)

func schemaKind(version, kind string) schema.GroupVersionKind {
	return schema.FromAPIVersionAndKind(version, kind)
}

func svc(name string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}}
	for _, c := range change {
		c(s)
	}
	return s
}

func slice(name, service string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}}},
	}
}

func node(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func id(name string) watchers.ServiceName {
	return watchers.ServiceName{Namespace: "ns", Name: name}
}

// await returns the first snapshot that fulfils a condition.
func await(t testing.TB, store *watchers.Store, what string, ok func(watchers.Snapshot) bool) watchers.Snapshot {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		snap := store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-deadline:
			require.FailNow(t, "timeout", "waiting for %s; there are %d facts", what, snap.Len())
		}
	}
}

func synced(s watchers.Snapshot) bool { return s.Synced() }

// run starts a watcher with quick retries, and returns a function that ends it and
// waits. Nothing of it may be left after the test.
func run(t testing.TB, client kubernetes.Interface, config Config, store *watchers.Store) (stop func()) {
	t.Helper()
	w := New(client, config)
	w.backoff = &wait.Backoff{Duration: 5 * time.Millisecond, Factor: 1, Steps: 1}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, store) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(20 * time.Second):
				require.FailNow(t, "Run does not return")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// leakCheck comes first in a test, so that it looks after all other clean-ups.
func leakCheck(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// A server may stream its lists or not: the store must not differ.
func bothModes(t *testing.T, fn func(t *testing.T, s *apiServer)) {
	for name, plain := range map[string]bool{"streamed lists": false, "plain lists": true} {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			s := newAPIServer(t)
			s.plainListsOnly = plain
			fn(t, s)
			streamed, listed := 0, 0
			for _, q := range s.seen(servicesPath) {
				switch {
				case q.Get("watch") == "":
					listed++
				case q.Get("sendInitialEvents") == "true":
					streamed++
				}
			}
			require.NotZero(t, streamed, "a streamed list is tried")
			if plain || !s.wasBroken {
				require.Equal(t, plain, listed > 0, "plain lists are the fallback only")
			}
		})
	}
}

func TestFollows(t *testing.T) {
	bothModes(t, func(t *testing.T, s *apiServer) {
		labelled := func(o *corev1.Service) { o.Labels = map[string]string{kubeapi.LabelProxyName: "other"} }
		headless := slice("h-1", "h")
		headless.Labels[corev1.IsHeadlessService] = ""
		s.set(svc("web"), slice("web-1", "web"), node("n1"), node("n2"), svc("theirs", labelled), headless,
			svc("none", func(o *corev1.Service) { o.Spec.ClusterIP = "None" }))
		store := watchers.NewStore()
		run(t, s.client(t), Config{NodeName: "n1"}, store)

		snap := await(t, store, "first lists", synced)
		require.Equal(t, 3+1, snap.Len(), "one of each, and the mark")
		require.NotNil(t, snap.Service(id("web")))

		t.Run("IN-03 no node but the own", func(t *testing.T) {
			require.NotNil(t, snap.Node("n1"))
			require.Nil(t, snap.Node("n2"))
		})
		t.Run("IN-01 label added and removed", func(t *testing.T) {
			s.set(svc("web", labelled))
			await(t, store, "leaving", func(s watchers.Snapshot) bool { return s.Service(id("web")) == nil })
			s.set(svc("web"))
			await(t, store, "coming back", func(s watchers.Snapshot) bool { return s.Service(id("web")) != nil })
		})
		t.Run("IN-02 headless label added", func(t *testing.T) {
			s.set(slice("h-2", "web"))
			await(t, store, "slice", func(s watchers.Snapshot) bool { return len(slicesOf(s, "web")) == 2 })
			o := slice("h-2", "web")
			o.Labels[corev1.IsHeadlessService] = ""
			s.set(o)
			await(t, store, "slice gone", func(s watchers.Snapshot) bool { return len(slicesOf(s, "web")) == 1 })
		})
		t.Run("IN-54 metadata wakes nobody", func(t *testing.T) {
			rev := store.Snapshot().Revision()
			s.set(svc("web", func(o *corev1.Service) { o.Annotations = map[string]string{"a": "b"} }), svc("sentinel"))
			snap := await(t, store, "sentinel", func(s watchers.Snapshot) bool { return s.Service(id("sentinel")) != nil })
			require.Equal(t, rev+1, snap.Revision(), "only the sentinel is a change")
		})
		t.Run("IN-51 deletion", func(t *testing.T) {
			s.delete(svc("web"))
			s.delete(slice("web-1", "web"))
			s.delete(node("n1"))
			await(t, store, "deletions", func(s watchers.Snapshot) bool {
				return s.Service(id("web")) == nil && len(slicesOf(s, "web")) == 0 && s.Node("n1") == nil
			})
		})
		t.Run("slice moves and loses its Service", func(t *testing.T) {
			s.set(slice("m", "a"))
			await(t, store, "a", func(s watchers.Snapshot) bool { return len(slicesOf(s, "a")) == 1 })
			s.set(slice("m", "b"))
			await(t, store, "b", func(s watchers.Snapshot) bool { return len(slicesOf(s, "a")) == 0 && len(slicesOf(s, "b")) == 1 })
			o := slice("m", "b")
			o.Labels = nil
			s.set(o)
			await(t, store, "none", func(s watchers.Snapshot) bool { return len(slicesOf(s, "b")) == 0 })
		})
	})
}

func slicesOf(s watchers.Snapshot, service string) (out []*watchers.EndpointSlice) {
	for e := range s.EndpointSlices(id(service)) {
		out = append(out, e)
	}
	return out
}

func TestSelectors(t *testing.T) {
	bothModes(t, func(t *testing.T, s *apiServer) {
		store := watchers.NewStore()
		stop := run(t, s.client(t), Config{NodeName: "n1"}, store)
		await(t, store, "empty lists", synced)
		stop()
		check := func(path, labels, fields string) {
			require.NotEmpty(t, s.seen(path))
			for _, q := range s.seen(path) {
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

// Pods, Endpoints, Namespaces and the rest mean nothing to a proxy, and cost an API
// server dearly.
func TestIN05NothingElseIsWatched(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	store := watchers.NewStore()
	stop := run(t, s.client(t), Config{NodeName: "n1"}, store)
	await(t, store, "empty lists", synced)
	require.Eventually(t, func() bool { return len(s.seen("/apis/networking.k8s.io/v1/servicecidrs")) > 0 }, 20*time.Second, time.Millisecond)
	stop()
	paths := map[string]bool{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range s.requests {
		paths[q.Get("path")] = true
	}
	require.Equal(t, map[string]bool{servicesPath: true, slicesPath: true, nodesPath: true, "/apis/networking.k8s.io/v1/servicecidrs": true}, paths)
}

func TestSelectorsOfOthers(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	store := watchers.NewStore()
	stop := run(t, s.client(t), Config{Nodes: NodesNone, Namespace: "ns", Filter: kubeapi.Filter{ProxyName: "mine"}}, store)
	await(t, store, "empty lists", synced)
	stop()
	require.Empty(t, s.seen(nodesPath))
	require.Empty(t, s.seen(servicesPath), "all namespaces")
	inNamespace := s.seen("/api/v1/namespaces/ns/services")
	require.NotEmpty(t, inNamespace)
	require.Equal(t, "service.kubernetes.io/service-proxy-name=mine", inNamespace[0].Get("labelSelector"))
	require.NotEmpty(t, s.seen("/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices"))

	s = newAPIServer(t)
	s.set(svc("web"), svc("theirs", func(o *corev1.Service) { o.Labels = map[string]string{kubeapi.LabelProxyName: "other"} }))
	store = watchers.NewStore()
	run(t, s.client(t), Config{Nodes: NodesNone, Filter: kubeapi.Filter{AllProxies: true}}, store)
	facts := await(t, store, "everybody's Services", synced)
	require.Empty(t, s.seen(servicesPath)[0].Get("labelSelector"))
	require.Nil(t, facts.Service(id("web")).ProxyName)
	require.Equal(t, "other", *facts.Service(id("theirs")).ProxyName)

	s = newAPIServer(t)
	s.set(node("n1"), node("n2"))
	store = watchers.NewStore()
	run(t, s.client(t), Config{Nodes: NodesAll}, store)
	snap := await(t, store, "nodes", synced)
	require.NotNil(t, snap.Node("n1"))
	require.NotNil(t, snap.Node("n2"))
}

// A store is complete when every kind is, whichever is last.
func TestSyncedIsLast(t *testing.T) {
	for _, last := range []string{servicesPath, slicesPath, nodesPath} {
		t.Run(last, func(t *testing.T) {
			leakCheck(t)
			s := newAPIServer(t)
			release := make(chan struct{})
			s.hold[last] = release
			s.set(svc("web"), slice("web-1", "web"), node("n1"))
			store := watchers.NewStore()
			run(t, s.client(t), Config{NodeName: "n1"}, store)
			snap := await(t, store, "the other two", func(s watchers.Snapshot) bool { return s.Len() == 2 })
			require.False(t, snap.Synced())
			close(release)
			snap = await(t, store, "all", synced)
			require.Equal(t, 4, snap.Len())
		})
	}
}

// After a history that is gone, a new list removes what is no more and leaves alone
// what is the same.
func TestRelist(t *testing.T) {
	bothModes(t, func(t *testing.T, s *apiServer) {
		s.set(svc("stays"), svc("goes"), slice("s", "stays"), slice("g", "goes"), node("n1"))
		store := watchers.NewStore()
		run(t, s.client(t), Config{NodeName: "n1"}, store)
		before := await(t, store, "first lists", synced)

		s.disconnect(http.StatusServiceUnavailable) // no new watch before all is prepared
		s.delete(svc("goes"))
		s.delete(slice("g", "goes"))
		s.set(svc("new"))
		s.forget()
		s.heal()

		snap := await(t, store, "new list", func(s watchers.Snapshot) bool {
			return s.Service(id("new")) != nil && s.Service(id("goes")) == nil && len(slicesOf(s, "goes")) == 0
		})
		require.Same(t, before.Service(id("stays")), snap.Service(id("stays")))
		require.Equal(t, before.Revision()+3, snap.Revision(), "one added, two removed")
		s.set(svc("later"))
		await(t, store, "going on", func(s watchers.Snapshot) bool { return s.Service(id("later")) != nil })
	})
}

// A watch that merely ends goes on where it was, without a new list.
func TestDisconnect(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	s.set(svc("web"))
	store := watchers.NewStore()
	run(t, s.client(t), Config{Nodes: NodesNone}, store)
	await(t, store, "first lists", synced)
	for _, name := range []string{"a", "b", "c"} {
		s.set(svc(name))
		await(t, store, name, func(s watchers.Snapshot) bool { return s.Service(id(name)) != nil })
		s.disconnect(0)
	}
	s.set(svc("d"))
	await(t, store, "d", func(s watchers.Snapshot) bool { return s.Service(id("d")) != nil })
	streamed := 0
	for _, q := range s.seen(servicesPath) {
		require.NotEmpty(t, q.Get("watch"))
		if q.Get("sendInitialEvents") == "true" {
			streamed++
		}
	}
	require.Equal(t, 1, streamed)
}

// A lockedBuffer is a log that the watcher's goroutines may write to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) count(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), s)
}

func TestOutage(t *testing.T) {
	bothModes(t, func(t *testing.T, s *apiServer) {
		var log lockedBuffer
		s.set(svc("web"), slice("web-1", "web"))
		store := watchers.NewStore()
		run(t, s.client(t), Config{Nodes: NodesNone, Logger: slog.New(slog.NewTextHandler(&log, nil))}, store)
		before := await(t, store, "first lists", synced)

		asked := len(s.seen(servicesPath))
		s.disconnect(http.StatusForbidden)
		require.Eventually(t, func() bool { return len(s.seen(servicesPath)) > asked+6 }, 20*time.Second, time.Millisecond)
		require.Equal(t, before.Revision(), store.Snapshot().Revision(), "what is known is kept")
		require.Equal(t, 1, log.count(`level=WARN msg="cannot read from the API server; keeping what is known and trying again" kind=services`))

		s.heal()
		s.set(svc("new"))
		await(t, store, "recovery", func(s watchers.Snapshot) bool { return s.Service(id("new")) != nil })
		back := func() bool { return log.count(`level=INFO msg="reading from the API server again" kind=services`) == 1 }
		require.Eventually(t, back, 20*time.Second, time.Millisecond)
		require.Zero(t, log.count("level=ERROR"), "client-go has nothing to say")
	})
}

// What client-go has to say is there for those who look for it.
func TestDebugLog(t *testing.T) {
	leakCheck(t)
	var log lockedBuffer
	s := newAPIServer(t)
	store := watchers.NewStore()
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	stop := run(t, s.client(t), Config{Nodes: NodesNone, Logger: logger}, store)
	await(t, store, "first lists", synced)
	stop()
	require.NotZero(t, log.count("level=DEBUG"))
	require.Equal(t, log.count("level="), log.count("level=DEBUG"))
}

// With no server at all, the reflector sits out pauses that do not heed its context.
func TestCancelWithoutServer(t *testing.T) {
	leakCheck(t)
	s := newAPIServer(t)
	client := s.client(t)
	s.Close()
	w := New(client, Config{Nodes: NodesNone})
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
	require.Eventually(t, func() bool { return len(s.seen(servicesPath)) > 0 }, 20*time.Second, time.Millisecond)
	stop()
	require.False(t, store.Snapshot().Synced())
}

func TestRunAgain(t *testing.T) {
	bothModes(t, func(t *testing.T, s *apiServer) {
		s.set(svc("stays"), svc("goes"))
		store, client := watchers.NewStore(), s.client(t)
		stop := run(t, client, Config{Nodes: NodesNone}, store)
		await(t, store, "first lists", synced)
		stop()
		s.delete(svc("goes"))
		run(t, client, Config{Nodes: NodesNone}, store)
		await(t, store, "second list", func(s watchers.Snapshot) bool { return s.Service(id("goes")) == nil })
		require.NotNil(t, store.Snapshot().Service(id("stays")))
	})
}

func TestConfig(t *testing.T) {
	for want, config := range map[string]Config{
		"Config.NodeName is empty":      {},
		"Config.Nodes is 9":             {Nodes: 9},
		`proxy name "no, no" cannot be`: {Nodes: NodesNone, Filter: kubeapi.Filter{ProxyName: "no, no"}},
	} {
		require.ErrorContains(t, New(nil, config).Run(t.Context(), watchers.NewStore()), want)
	}
}

func TestTuned(t *testing.T) {
	in := &rest.Config{Host: "h"}
	out := Tuned(in)
	require.Equal(t, rest.Config{Host: "h"}, *in, "the argument is not written to")
	require.Equal(t, "application/vnd.kubernetes.protobuf", out.ContentType)
	require.Equal(t, "application/vnd.kubernetes.protobuf,application/json", out.AcceptContentTypes)
	require.Greater(t, out.QPS, float32(rest.DefaultQPS))
	require.True(t, out.DisableCompression)

	kept := Tuned(&rest.Config{UserAgent: "mine", QPS: 1, Burst: 2, ContentConfig: rest.ContentConfig{ContentType: "application/cbor"}})
	require.Equal(t, "mine", kept.UserAgent)
	require.Equal(t, "application/cbor", kept.ContentType)
	require.Equal(t, float32(1), kept.QPS)
}

// What a reflector may hand over besides objects of its kind.
func TestIN07Mirror(t *testing.T) {
	type setup struct {
		m     *mirror
		store *watchers.Store
		log   *lockedBuffer
	}
	for id, test := range map[string]func(t *testing.T, s setup){
		"IN-07 a list with strangers": func(t *testing.T, s setup) {
			require.NoError(t, s.m.Replace([]any{svc("a"), svc("b"), "junk", &corev1.Pod{}}, "1"))
			require.Equal(t, 3, s.store.Snapshot().Len())
			require.Equal(t, 1, s.log.count("not an API object"))
			require.Equal(t, 1, s.log.count("cannot use an object"))
		},
		"IN-07 a tombstone": func(t *testing.T, s setup) {
			require.NoError(t, s.m.Replace([]any{svc("a"), svc("b")}, "1"))
			require.NoError(t, s.m.Delete(cache.DeletedFinalStateUnknown{Key: "ns/a"}))
			require.Nil(t, s.store.Snapshot().Service(id("a")))
			require.NotNil(t, s.store.Snapshot().Service(id("b")))
		},
		"IN-07 a tombstone that names nothing": func(t *testing.T, s setup) {
			require.NoError(t, s.m.Replace([]any{svc("a")}, "1"))
			require.NoError(t, s.m.Delete(cache.DeletedFinalStateUnknown{Key: "a/b/c"}))
			require.Equal(t, 1, s.log.count("cannot read a tombstone"))
			require.Equal(t, 2, s.store.Snapshot().Len())
		},
		"IN-07 what is no object": func(t *testing.T, s setup) {
			require.NoError(t, s.m.Replace([]any{svc("a")}, "1"))
			require.NoError(t, s.m.Add(7))
			require.NoError(t, s.m.Update(7))
			require.NoError(t, s.m.Update(nil))
			require.NoError(t, s.m.Delete(7))
			require.Equal(t, 4, s.log.count("not an API object"))
			require.Equal(t, 2, s.store.Snapshot().Len())
		},
		"IN-06 a resync of what is the same": func(t *testing.T, s setup) {
			require.NoError(t, s.m.Replace([]any{svc("a")}, "1"))
			before := s.store.Snapshot()
			require.NoError(t, s.m.Resync())
			require.NoError(t, s.m.Update(svc("a")))
			require.NoError(t, s.m.Replace([]any{svc("a")}, "2"))
			require.Equal(t, before.Revision(), s.store.Snapshot().Revision())
			require.Same(t, before.Service(id("a")), s.store.Snapshot().Service(id("a")))
		},
	} {
		t.Run(id, func(t *testing.T) {
			s := setup{store: watchers.NewStore(), log: &lockedBuffer{}}
			s.m = &mirror{source: &source{kind: watchers.KindService, resource: "services"}, store: s.store,
				logger: slog.New(slog.NewTextHandler(s.log, nil)), pending: map[watchers.Kind]bool{watchers.KindService: true}}
			test(t, s)
		})
	}
}
