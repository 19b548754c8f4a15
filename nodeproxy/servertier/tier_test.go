// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// A stepWatcher completes the cluster state when its channel is closed.
type stepWatcher chan struct{}

func (w stepWatcher) Run(ctx context.Context, store *watchers.Store) error {
	select {
	case <-w:
		store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// getter returns a function that sends a request to a handler, and returns the status and the body.
func getter(handler http.Handler) func(path string) (int, string) {
	return func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
}

func TestTierServesWhenTheStateIsComplete(t *testing.T) {
	defer goleak.VerifyNone(t)
	tier, err := New(Config{Name: "test"})
	require.NoError(t, err)
	handler, err := tier.Handler(prometheus.NewGauge(prometheus.GaugeOpts{Name: "extra", Help: "extra"}))
	require.NoError(t, err)
	get := getter(handler)
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	watcher, done := make(stepWatcher), make(chan error, 1)
	go func() {
		all := transport.Subjects{Names: []string{"system:anonymous"}}
		done <- tier.Run(ctx, watcher, listener, transport.Guard{
			Authenticate: transport.AnonymousAuthenticator(""),
			Authorize:    transport.Rules{Allow: map[transport.Verb]transport.Subjects{transport.VerbInspect: all}}.Authorize,
		})
	}()
	code, _ := get("/livez")
	require.Equal(t, 200, code)
	code, _ = get("/readyz")
	require.Equal(t, 503, code)

	close(watcher)
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	_, err = kpng.NewInspectServiceClient(conn).GetLag(ctx, &kpng.GetLagRequest{}, grpc.WaitForReady(true))
	for err != nil { // the server answers when the state is complete
		_, err = kpng.NewInspectServiceClient(conn).GetLag(ctx, &kpng.GetLagRequest{}, grpc.WaitForReady(true))
	}
	code, body := get("/readyz")
	require.Equal(t, 200, code)
	require.Equal(t, "ok\n", body)
	_, body = get("/metrics")
	require.Contains(t, body, "\nextra 0\n")
	require.Contains(t, body, "kpng_server_nodes")
	require.NoError(t, conn.Close())
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, tier.Close())
}

// TestReadyWithoutNodes: a server of cluster state alone is ready, and reports nothing about nodes.
func TestReadyWithoutNodes(t *testing.T) {
	defer goleak.VerifyNone(t)
	tier, err := New(Config{Services: ServicesClusters})
	require.NoError(t, err)
	handler, err := tier.Handler()
	require.NoError(t, err)
	get := getter(handler)
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	watcher, done := make(stepWatcher), make(chan error, 1)
	go func() { done <- tier.Run(ctx, watcher, listener, transport.Guard{}) }()
	code, _ := get("/readyz")
	require.Equal(t, 503, code)
	close(watcher)
	require.Eventually(t, func() bool { code, _ := get("/readyz"); return code == 200 }, 10*time.Second, time.Millisecond)
	_, body := get("/metrics")
	require.NotContains(t, body, "kpng_server_nodes")
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, tier.Close())
}

func TestInvalidResolver(t *testing.T) {
	_, err := New(Config{Resolver: nodelocal.MultiNodeConfig{NodePortAddresses: []string{"eth0"}}})
	require.ErrorContains(t, err, "NodePortAddresses")
}
