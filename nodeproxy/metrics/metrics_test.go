// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
)

func TestHandlerServesAllCollectors(t *testing.T) {
	requests, reconciler := NewHealthRequests(), NewReconciler()
	reconciler.Observe(true, time.Millisecond, 6)
	handler, err := Handler(NewSink(&sinktest.Recorder{}, SinkConfig{}), requests,
		NewNotProgrammed(func() int { return 3 }),
		NewLoopback(func() localhost.Stats {
			return localhost.Stats{Listeners: 2, OpenFailures: 5, IPv6: localhost.FamilyStats{Listeners: 1, OpenFailures: 2}}
		}),
		NewTransactions(func() (v4, v6 Transactions) { return Transactions{SyncFailures: 7}, Transactions{CleanupFailures: 8} }),
		NewHTTP(func() httpserver.LimiterStats {
			return httpserver.LimiterStats{Listeners: 4, Connections: 3, Replaced: 2, MaxDescriptors: 100, MaxConnections: 1000}
		}),
		NewBuildInfo("v1.23.4"), NewFeatures(Feature{Name: "Old", Stage: "DEPRECATED"}, Feature{Name: "New", Enabled: true}), reconciler)
	require.NoError(t, err)
	unavailable := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	requests.InstrumentHealthz(unavailable).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
	requests.InstrumentLivez(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/livez", nil))

	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range []string{
		"kpng_services 0", "kpng_services_not_programmed 3",
		`kubeproxy_nftables_localhost_nodeport_listeners{ip_family="IPv4"} 1`, `kubeproxy_nftables_localhost_nodeport_listeners{ip_family="IPv6"} 1`,
		`kubeproxy_nftables_localhost_nodeport_listener_creation_failures_total{ip_family="IPv4"} 3`,
		`kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 7`,
		`kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family="IPv6"} 8`,
		`kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv6"} 6`,
		`kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"} 0`,
		"kpng_http_listeners 4", "kpng_http_connections 3", "kpng_http_connections_limit 96", "kpng_http_connections_replaced_total 2",
		`kubernetes_feature_enabled{name="Old",stage="DEPRECATED"} 0`, `kubernetes_feature_enabled{name="New",stage=""} 1`,
		`kubeproxy_proxy_healthz_total{code="503"} 1`, `kubeproxy_proxy_livez_total{code="404"} 1`,
		`kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv6"} 0`, "go_goroutines ",
	} {
		require.Contains(t, w.Body.String(), "\n"+line)
	}
	require.Regexp(t, `kubernetes_build_info{.*git_version="v1.23.4".*major="1",minor="23",platform=".*} 1`, w.Body.String())
	require.NotEmpty(t, w.Header().Get("Process-Start-Time-Unix"))
}

func TestSLIHandlerServesOnlyTheStartOfTheProcess(t *testing.T) {
	w := httptest.NewRecorder()
	SLIHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics/slis", nil))
	for line := range strings.Lines(w.Body.String()) {
		require.Contains(t, line, "process_start_time_seconds")
	}
	require.NotEmpty(t, w.Body.String())
}

func TestSeveralProxiesInOneProcess(t *testing.T) {
	for range 2 {
		_, err := Handler(NewSink(&sinktest.Recorder{}, SinkConfig{}), NewHealthRequests())
		require.NoError(t, err)
	}
	_, err := Handler(NewHealthRequests(), NewHealthRequests())
	require.ErrorContains(t, err, "metrics: ")
}
