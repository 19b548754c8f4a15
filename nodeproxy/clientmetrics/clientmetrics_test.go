// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package clientmetrics

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// TestRequestsOfClientsAreCounted sends one request with a real client.
func TestRequestsOfClientsAreCounted(t *testing.T) {
	collectors, err := Register()
	require.NoError(t, err)
	_, err = Register()
	require.EqualError(t, err, "clientmetrics: the metrics hooks of client-go are in use")
	registry := prometheus.NewRegistry()
	for _, c := range collectors {
		require.NoError(t, registry.Register(c))
	}

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"kind":"Node","apiVersion":"v1","metadata":{"name":"n"}}`))
	}))
	defer server.Close()
	client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL})
	require.NoError(t, err)
	_, err = client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
	require.NoError(t, err)

	for name, series := range map[string]int{
		"rest_client_requests_total": 1, "rest_client_request_duration_seconds": 1, "rest_client_rate_limiter_duration_seconds": 1,
		"rest_client_request_size_bytes": 1, "rest_client_response_size_bytes": 1, "rest_client_transport_cache_entries": 1,
		"rest_client_exec_plugin_ttl_seconds": 1,
	} {
		count, err := testutil.GatherAndCount(registry, name)
		require.NoError(t, err)
		require.Equal(t, series, count, name)
	}
}

func TestHooksOfRareEvents(t *testing.T) {
	c := newCollectors()
	soon := time.Now().Add(time.Hour)
	c.expiry.Set(&soon)
	require.InDelta(t, time.Hour.Seconds(), c.expiry.seconds(), 60)
	c.expiry.Set(nil)
	require.Greater(t, c.expiry.seconds(), 1e300)
	c.rotation.Observe(time.Hour)
	c.retries.IncrementRetry(t.Context(), "429", "GET", "h")
	c.pluginCalls.Increment(1, "plugin_execution_error")
	c.reloads.Increment("success", "changed")
	c.cacheGCs.Increment("deleted")
	c.rotationGCs.Increment()
	require.InDelta(t, 1, testutil.ToFloat64(c.retries.v.WithLabelValues("429", "GET", "h")), 0)
	require.InDelta(t, 1, testutil.ToFloat64(c.pluginCalls.v.WithLabelValues("1", "plugin_execution_error")), 0)
	require.InDelta(t, 1, testutil.ToFloat64(c.reloads.v.WithLabelValues("success", "changed")), 0)
	require.InDelta(t, 1, testutil.ToFloat64(c.cacheGCs.v.WithLabelValues("deleted")), 0)
	require.InDelta(t, 1, testutil.ToFloat64(c.rotationGCs.c), 0)
}
