// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"context"
	"hash/maphash"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/watchers"
)

// put replaces a file by rename, as editors do.
func put(t testing.TB, name, content string) {
	t.Helper()
	temporary := filepath.Join(filepath.Dir(name), ".new")
	require.NoError(t, os.WriteFile(temporary, []byte(content), 0o600))
	require.NoError(t, os.Rename(temporary, name))
}

// mustNew returns a watcher with a valid configuration.
func mustNew(t testing.TB, path string, cfg Config) *Watcher {
	t.Helper()
	w, err := New(path, cfg)
	require.NoError(t, err)
	return w
}

// A runner runs a watcher and collects its errors and log.
type runner struct {
	t     testing.TB
	store *watchers.Store
	stop  func()

	mu      sync.Mutex
	errors  []string
	log     bytes.Buffer
	changed chan struct{} // closed when errors change; then replaced
}

func (r *runner) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *runner) logged(s string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.log.String(), s)
}

func run(t testing.TB, path string, cfg Config) *runner {
	t.Helper()
	before := goleak.IgnoreCurrent()
	r := &runner{t: t, store: watchers.NewStore(), changed: make(chan struct{})}
	cfg.Logger = slog.New(slog.NewTextHandler(r, nil))
	cfg.OnErrors = func(errs []*Error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errors = nil
		for _, e := range errs {
			r.errors = append(r.errors, strings.TrimPrefix(e.Error(), path))
		}
		close(r.changed)
		r.changed = make(chan struct{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	watcher := mustNew(t, path, cfg)
	go func() { done <- watcher.Run(ctx, r.store) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		goleak.VerifyNone(t, before)
	})
	t.Cleanup(r.stop)
	r.await("the first read", watchers.Snapshot.Synced)
	return r
}

func (r *runner) await(description string, ok func(watchers.Snapshot) bool) watchers.Snapshot {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		snap := r.store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-deadline:
			require.FailNow(r.t, "timeout", "waiting for %s", description)
		}
	}
}

// awaitErrors waits until the reported errors are these and no others.
func (r *runner) awaitErrors(want ...string) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		got, changed := r.errors, r.changed
		r.mu.Unlock()
		if len(got) == len(want) && strings.Join(got, "\n") == strings.Join(want, "\n") {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(r.t, "timeout", "got errors\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func id(name string) watchers.ServiceName {
	return watchers.ServiceName{Namespace: "default", Name: name}
}

// hasClusterIP returns the condition that a Service has the given cluster IP, or does not
// exist if ip is "".
func hasClusterIP(name, ip string) func(watchers.Snapshot) bool {
	return func(s watchers.Snapshot) bool {
		svc := s.Service(id(name))
		if svc == nil {
			return ip == ""
		}
		return svc.ClusterIP.String() == ip
	}
}

func service(name, ip string) string {
	return "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\nspec:\n  clusterIP: " + ip + "\n"
}

// newDecoder returns a decoder for the default proxy, without a log.
func newDecoder() *decoder {
	return &decoder{logger: slog.New(slog.DiscardHandler), seed: maphash.MakeSeed(), loggedKinds: map[string]bool{}}
}

// A scanner reads the files of a directory on request.
type scanner struct {
	t   testing.TB
	dir string
	set *fileSet
}

func newScanner(t testing.TB) *scanner {
	t.Helper()
	dir := t.TempDir()
	return &scanner{t: t, dir: dir, set: &fileSet{path: dir, decoder: newDecoder()}}
}

func (s *scanner) put(name, content string) {
	s.t.Helper()
	put(s.t, filepath.Join(s.dir, name), content)
}

// scan returns the objects, such as "Service default/web 10.0.0.1", and the errors.
func (s *scanner) scan() (objects, errs []string) {
	s.t.Helper()
	_, _ = s.set.scan(s.t.Context(), true) // merge returns the error
	list, failures := s.set.merge()
	for _, o := range list {
		objects = append(objects, describe(o))
	}
	slices.Sort(objects)
	for _, e := range failures {
		errs = append(errs, strings.TrimPrefix(e.Error(), s.dir+"/"))
	}
	return objects, errs
}

func describe(o watchers.Object) string {
	switch o := o.(type) {
	case *watchers.Service:
		return "Service " + o.Name.String() + " " + o.ClusterIP.String()
	case *watchers.Node:
		return "Node " + o.Name
	case *watchers.EndpointSlice:
		return "EndpointSlice " + o.Namespace + "/" + o.Name
	case *watchers.ServiceCIDR:
		return "ServiceCIDR " + o.Name
	}
	return ""
}

// jsonService returns the Service of function service as one line of JSON.
func jsonService(name, ip string) string {
	return `{"apiVersion":"v1","kind":"Service","metadata":{"name":"` + name + `"},"spec":{"clusterIP":"` + ip + `"}}`
}
