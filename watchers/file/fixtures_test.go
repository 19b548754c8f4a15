// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
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
