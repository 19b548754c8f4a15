// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// A syncBuffer collects a log that several goroutines write and read.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func logged(t *testing.T, log *syncBuffer, text string) string {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(log.String(), text) }, 10*time.Second, time.Millisecond)
	return log.String()
}

func TestRunServesUntilTheContextEnds(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancel(t.Context())
	var log syncBuffer
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, "127.0.0.1:0", Text("hello"), slog.New(slog.NewTextHandler(&log, nil)))
	}()
	line := logged(t, &log, `msg="Serving HTTP" address=`)
	_, address, _ := strings.Cut(strings.TrimSpace(line), "address=")
	answer, err := http.Get("http://" + address)
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, "hello", string(body))
	cancel()
	require.NoError(t, <-done)
	http.DefaultClient.CloseIdleConnections()
}

func TestEmptyAddressServesNothing(t *testing.T) {
	require.NoError(t, Run(t.Context(), "", nil, nil))
	require.NoError(t, RunRetrying(t.Context(), "", nil, nil))
}

func TestOccupiedPort(t *testing.T) {
	defer goleak.VerifyNone(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	address := listener.Addr().String()
	require.Error(t, Run(t.Context(), address, nil, nil))

	ctx, cancel := context.WithCancel(t.Context())
	var log syncBuffer
	done := make(chan error, 1)
	go func() { done <- RunRetrying(ctx, address, nil, slog.New(slog.NewTextHandler(&log, nil))) }()
	logged(t, &log, "retrying")
	cancel()
	require.NoError(t, <-done)
}

func get(h http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestReadyWhenAllChannelsAreClosed(t *testing.T) {
	a, b := make(chan struct{}), make(chan struct{})
	h := Ready("not synced", a, b)
	close(a)
	code, body := get(h, "/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "not synced\n", body)
	close(b)
	code, body = get(h, "/readyz")
	require.Equal(t, 200, code)
	require.Equal(t, "ok\n", body)
}

func TestConfigzIsJSON(t *testing.T) {
	_, body := get(Configz("group", map[string]string{"mode": "nftables"}), "/configz")
	require.JSONEq(t, `{"group": {"mode": "nftables"}}`, body)
}

func TestProfilingIsServed(t *testing.T) {
	mux := http.NewServeMux()
	code, _ := get(mux, "/debug/pprof/")
	require.Equal(t, 404, code)
	HandleProfiling(mux)
	code, _ = get(mux, "/debug/pprof/")
	require.Equal(t, 200, code)
}
