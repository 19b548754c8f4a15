// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestHandlerServesAllCollectors(t *testing.T) {
	requests := NewHealthRequests()
	handler, err := Handler(NewSink(&sinktest.Recorder{}), requests,
		NewNotProgrammed(func() int { return 3 }),
		NewLoopback(func() localhost.Stats { return localhost.Stats{Listeners: 2, OpenFailures: 5} }))
	require.NoError(t, err)
	unavailable := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	requests.InstrumentHealthz(unavailable).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
	requests.InstrumentLivez(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/livez", nil))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		"kpng_services 0", "kpng_services_not_programmed 3",
		"kubeproxy_nftables_localhost_nodeport_listeners 2", "kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total 5",
		`kubeproxy_proxy_healthz_total{code="503"} 1`, `kubeproxy_proxy_livez_total{code="404"} 1`,
		"kubeproxy_sync_proxy_rules_duration_seconds_count 0", "go_goroutines ",
	} {
		require.Contains(t, w.Body.String(), "\n"+line)
	}
}

func TestSeveralProxiesInOneProcess(t *testing.T) {
	for range 2 {
		_, err := Handler(NewSink(&sinktest.Recorder{}), NewHealthRequests())
		require.NoError(t, err)
	}
	_, err := Handler(NewHealthRequests(), NewHealthRequests())
	require.ErrorContains(t, err, "metrics: ")
}
