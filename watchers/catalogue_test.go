// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package watchers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// A catalogueServer serves the objects of a store as a catalogue.
type catalogueServer struct {
	store *watchers.Store

	mu     sync.Mutex
	status int    // of all responses, unless 0
	body   string // of all responses, unless empty
	base   uint64 // the index is the revision of the store plus base
}

func newCatalogueServer() *catalogueServer {
	s := &catalogueServer{store: watchers.NewStore()}
	s.store.Update((*watchers.Tx).SetSynced) // so that no index is 0
	return s
}

func (s *catalogueServer) set(objects ...watchers.Object) {
	s.store.Update(func(tx *watchers.Tx) {
		for _, o := range objects {
			tx.Set(o)
		}
	})
}

func (s *catalogueServer) remove(objects ...watchers.Object) {
	s.store.Update(func(tx *watchers.Tx) {
		for _, o := range objects {
			tx.Delete(tx.Set(o))
		}
	})
}

func (s *catalogueServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	index, err := strconv.ParseUint(r.URL.Query().Get("index"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	status, body, base := s.status, s.body, s.base
	s.mu.Unlock()
	if status != 0 {
		http.Error(w, "injected failure", status)
		return
	}
	snap := s.store.Snapshot()
	for expired := time.After(time.Minute); base+uint64(snap.Revision()) <= index; snap = s.store.Snapshot() {
		select {
		case <-snap.Newer():
			continue
		case <-r.Context().Done():
			return
		case <-expired:
		}
		break
	}
	w.Header().Set("X-Index", strconv.FormatUint(base+uint64(snap.Revision()), 10))
	if body != "" {
		_, _ = w.Write([]byte(body))
		return
	}
	_ = json.NewEncoder(w).Encode(catalogueOf(snap))
}

// catalogueOf converts a snapshot.
func catalogueOf(snap watchers.Snapshot) map[string][]map[string]any {
	c := map[string][]map[string]any{}
	for _, object := range snap.All() {
		switch o := object.(type) {
		case *watchers.Service:
			c["Services"] = append(c["Services"], map[string]any{"Namespace": o.Name.Namespace, "Name": o.Name.Name, "IP": o.ClusterIP, "Port": o.Ports[0].Port})
		case *watchers.EndpointSlice:
			var ips []string
			for _, e := range o.Endpoints {
				ips = append(ips, e.Addr.String())
			}
			c["Pools"] = append(c["Pools"], map[string]any{"Namespace": o.Namespace, "Name": o.Name, "Service": o.Service.Name, "IPs": ips, "Port": o.Ports[0].Port})
		case *watchers.Node:
			c["Nodes"] = append(c["Nodes"], map[string]any{"Name": o.Name, "Zone": o.Zone})
		case *watchers.ServiceCIDR:
			c["Networks"] = append(c["Networks"], map[string]any{"Name": o.Name, "CIDR": o.Networks[0]})
		}
	}
	return c
}

func TestCatalogueWatcher(t *testing.T) {
	watchertest.TestWatcher(t, func(t *testing.T) watchertest.Harness {
		catalogue := newCatalogueServer()
		server := httptest.NewServer(catalogue)
		t.Cleanup(server.Close)
		return watchertest.Harness{
			Watcher: &catalogueWatcher{url: server.URL, client: server.Client(), pause: time.Second, logger: slog.New(slog.DiscardHandler)},
			Set:     catalogue.set,
			Remove:  catalogue.remove,
			Idle: func() {
				server.Client().CloseIdleConnections()
				server.CloseClientConnections()
			},
		}
	})
}

// TestCatalogueErrorsKeepState checks that the store keeps its objects whatever the server
// responds, and that a server that has restarted with a lower index is read at once.
func TestCatalogueErrorsKeepState(t *testing.T) {
	node := func(zone string) *watchers.Node { return &watchers.Node{Name: "n", Zone: zone} }
	catalogue := newCatalogueServer()
	catalogue.set(node("before"))
	catalogue.base = 1000
	server := httptest.NewServer(catalogue)
	defer server.Close()
	restart := func(status int, body string, base uint64) {
		catalogue.mu.Lock()
		catalogue.status, catalogue.body, catalogue.base = status, body, base
		catalogue.mu.Unlock()
		server.CloseClientConnections()
	}
	failures := make(chan string, 1000)
	watcher := &catalogueWatcher{url: server.URL, client: server.Client(), pause: time.Millisecond, logger: slog.New(&failureHandler{failures: failures})}
	store, stop := startWatcher(t, watcher)
	defer stop()
	hasZone := func(zone string) func(watchers.Snapshot) bool {
		return func(s watchers.Snapshot) bool { return s.Node("n") != nil && s.Node("n").Zone == zone }
	}
	before := await(t, store, hasZone("before"))
	for _, c := range []struct {
		status  int
		body    string
		failure string
	}{
		{http.StatusInternalServerError, "", "status 500 Internal Server Error"},
		{http.StatusNotFound, "", "status 404 Not Found"},
		{0, `{"Nodes":[{"Name":"n","Zone":"half`, "unexpected EOF"},
		{0, `[]`, "json: cannot unmarshal"},
	} {
		restart(c.status, c.body, 0)
		awaitFailure(t, failures, c.failure)
		require.Same(t, before.Snapshot, store.Snapshot().Snapshot, c.failure)
	}
	catalogue.set(node("after"))
	restart(0, "", 1)
	await(t, store, hasZone("after"))
	catalogue.remove(node("after"))
	await(t, store, func(s watchers.Snapshot) bool { return s.Node("n") == nil })
}

// A failureHandler sends the attribute err of each record.
type failureHandler struct {
	slog.Handler

	failures chan<- string
}

func (*failureHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h *failureHandler) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "err" {
			select {
			case h.failures <- a.Value.String():
			default: // the test has received enough of them
			}
		}
		return true
	})
	return nil
}

func awaitFailure(t *testing.T, failures <-chan string, want string) {
	for expired := time.After(10 * time.Second); ; {
		select {
		case failure := <-failures:
			if strings.Contains(failure, want) {
				return
			}
		case <-expired:
			require.FailNow(t, "timeout", want)
		}
	}
}

func TestCatalogueInvalidEntriesAreProblems(t *testing.T) {
	c := &catalogue{}
	require.NoError(t, json.Unmarshal([]byte(`{
		"Services": [{"Namespace": "default", "Name": "web", "IP": "10.96.0", "Port": 80}],
		"Pools": [{"Namespace": "default", "Name": "web-1", "Service": "web", "IPs": ["10.1.0.1", "10.1"], "Port": 0}],
		"Networks": [{"Name": "default", "CIDR": "10.96.0.0"}]}`), c))
	var problems []string
	snap := watchers.NewStore().Update(func(tx *watchers.Tx) {
		for _, o := range c.objects() {
			tx.Set(o)
		}
	})
	for _, object := range snap.All() {
		switch o := object.(type) {
		case *watchers.Service:
			problems = append(problems, fmt.Sprint(o.Problems))
		case *watchers.EndpointSlice:
			require.Len(t, o.Endpoints, 1)
			problems = append(problems, fmt.Sprint(o.Problems))
		case *watchers.ServiceCIDR:
			problems = append(problems, fmt.Sprint(o.Problems))
		}
	}
	require.Equal(t, []string{
		`[Service default/web: IP: ParseAddr("10.96.0"): IPv4 address too short]`,
		"[EndpointSlice default/web-1: ports[0].port: 0 is out of range 1-65535; the port is ignored" +
			" EndpointSlice default/web-1: endpoints[1].addresses[0]: invalid IP is not an IP address; the endpoint is ignored]",
		"[ServiceCIDR default: spec.cidrs[0]: invalid Prefix is not a network; ignored]",
	}, problems)
}

// startWatcher runs a watcher with a new store until stop is called.
func startWatcher(t *testing.T, w watchers.Watcher) (store *watchers.Store, stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	store, done := watchers.NewStore(), make(chan error, 1)
	go func() { done <- w.Run(ctx, store) }()
	return store, func() {
		cancel()
		require.NoError(t, <-done)
	}
}

// await waits for a snapshot that meets a condition.
func await(t *testing.T, store *watchers.Store, ok func(watchers.Snapshot) bool) watchers.Snapshot {
	snap := store.Snapshot()
	for expired := time.After(10 * time.Second); !ok(snap); snap = store.Snapshot() {
		select {
		case <-snap.Newer():
		case <-expired:
			require.FailNow(t, "timeout")
		}
	}
	return snap
}
