// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"sigs.k8s.io/kpng/watchers"
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

// await returns the first snapshot for which ok returns true.
func await(t testing.TB, store *watchers.Store, description string, ok func(watchers.Snapshot) bool) watchers.Snapshot {
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
			require.FailNow(t, "timeout", "waiting for %s; the store has %d objects", description, snap.Len())
		}
	}
}

func synced(s watchers.Snapshot) bool { return s.Synced() }

// mustNew returns a watcher with a valid configuration.
func mustNew(t testing.TB, client kubernetes.Interface, cfg Config) *Watcher {
	t.Helper()
	w, err := New(client, cfg)
	require.NoError(t, err)
	return w
}

// run starts a watcher with short retry intervals. stop cancels it and waits for Run to
// return; it is called at the end of the test at the latest.
func run(t testing.TB, client kubernetes.Interface, cfg Config, store *watchers.Store) (stop func()) {
	t.Helper()
	w := mustNew(t, client, cfg)
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
				require.FailNow(t, "Run did not return")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// leakCheck fails the test if goroutines are left at its end. It must be called first, so
// that its check runs after all other clean-ups.
func leakCheck(t testing.TB) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// withAndWithoutStreamedLists runs fn with a server that supports streamed lists, with one
// that does not, and with servers that do not support protobuf; the store must be the same.
func withAndWithoutStreamedLists(t *testing.T, fn func(t *testing.T, s *apiServer)) {
	for name, server := range map[string]struct{ plain, json bool }{
		"streamed lists": {}, "plain lists": {plain: true}, "JSON": {json: true}, "plain lists, JSON": {plain: true, json: true},
	} {
		t.Run(name, func(t *testing.T) {
			leakCheck(t)
			s, plain := newAPIServer(t), server.plain
			s.plainListsOnly, s.jsonOnly = plain, server.json
			fn(t, s)
			streamed, listed := 0, 0
			for _, q := range s.requestsTo(servicesPath) {
				switch {
				case q.Get("watch") == "":
					listed++
				case q.Get("sendInitialEvents") == "true":
					streamed++
				}
			}
			require.NotZero(t, streamed, "the watcher requests a streamed list first")
			if plain || !s.hasFailed {
				require.Equal(t, plain, listed > 0, "plain lists are only a fallback")
			}
		})
	}
}

func slicesOf(s watchers.Snapshot, service string) (out []*watchers.EndpointSlice) {
	for e := range s.EndpointSlices(id(service)) {
		out = append(out, e)
	}
	return out
}

// A logBuffer collects log output of concurrent goroutines.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) count(s string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.buf.String(), s)
}
