// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/tools/events"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/watchers"
)

func TestStatePages(t *testing.T) {
	rules := &partial{}
	m := newMonitor(rules)
	f := newFaults(m, events.NewFakeRecorder(10), func(int) {})
	explain := func(name localsink.ServiceName) (*nodelocal.Explanation, error) {
		if name.Name != "web" {
			return nil, nil
		}
		return &nodelocal.Explanation{Service: "ns/web\n", Unmatched: []string{"slice x has no port"}}, nil
	}
	h := metricsHandler(m, f, &options{configuration: configuration{Mode: "nftables"}}, explain)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	_, body := get("/state")
	require.Contains(t, body, "nothing is applied yet")

	svc := service("web", localsink.VerdictReject, "10.0.0.1:80")
	svc.Name.Namespace = "ns"
	d := sinktest.Driver{Sink: f, Node: &localsink.Node{Name: "node-1"}}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc)))
	_, body = get("/state")
	require.Contains(t, body, "# node node-1")
	require.Contains(t, body, "Anyone -> 10.0.0.1:80")

	code, body := get("/state/ns/web")
	require.Equal(t, 200, code)
	require.Contains(t, body, "# wanted\nns/web\n  slice x has no port\n# applied\nns/web\n")
	_, body = get("/state/ns/web?output=json")
	var state serviceState
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.Equal(t, svc.Text(), state.Applied)
	require.Empty(t, state.Errors)
	code, _ = get("/state/ns/none")
	require.Equal(t, 404, code)

	// OP-14: what is refused is left out and named, on its own page and among all.
	refused := service("refused", localsink.VerdictReject, "10.0.0.2:80")
	refused.Name.Namespace = "ns"
	rules.unserved = map[localsink.ServiceName]error{refused.Name: errors.New("the kernel says no")}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc, refused)))
	_, body = get("/state/ns/refused")
	require.Contains(t, body, "# errors\nerror (since ")
	require.Contains(t, body, "): the kernel says no\n")
	_, body = get("/state/ns/web")
	require.NotContains(t, body, "error")
	_, body = get("/state")
	require.Contains(t, body, "): the kernel says no\n")
	require.NotContains(t, body, "is not applied")
	rules.unserved = nil

	// An update that fails as a whole is an error of those that are in it.
	rules.fail = errors.New("the kernel is away")
	fresh := service("fresh", localsink.VerdictReject, "10.0.0.3:80")
	fresh.Name.Namespace = "ns"
	require.Error(t, d.Sync(t.Context(), sinktest.NewState(svc, refused, fresh)))
	_, body = get("/state")
	require.Contains(t, body, "# the last attempt failed: the kernel is away\n")
	require.Contains(t, body, "ns/fresh\n  # is not applied\n  # error (since ")
	_, body = get("/state/ns/fresh")
	require.Contains(t, body, "): the kernel is away\n")
	_, body = get("/state/ns/web")
	require.NotContains(t, body, "away", "it has nothing to do with that")
	_, body = get("/state?output=json")
	var all nodeState
	require.NoError(t, json.Unmarshal([]byte(body), &all))
	require.Equal(t, "the kernel is away", all.LastError)
	require.Equal(t, "node-1", all.Node)
	require.Len(t, all.Services, 3)
	require.Equal(t, "ns/fresh", all.Services[0].Service)
	require.Empty(t, all.Services[0].Applied)
	require.False(t, all.Services[0].Errors[0].Over)
	rules.fail = nil
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc, refused, fresh)))
	_, body = get("/state/ns/fresh?output=json")
	state = serviceState{}
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.Equal(t, fresh.Text(), state.Applied)
	require.True(t, state.Errors[0].Over, "it is remembered")
	_, body = get("/state/ns/fresh")
	require.Contains(t, body, ", over since): the kernel is away\n")

	t.Run("OP-30 mode, health, configuration and metrics", func(t *testing.T) {
		_, body = get("/proxyMode")
		require.Equal(t, "nftables", body)
		_, body = get("/healthz")
		require.Equal(t, "ok", body)
		_, body = get("/configz")
		require.Contains(t, body, `"mode":"nftables"`)
		_, body = get("/metrics")
		require.Contains(t, body, "kubeproxy_sync_proxy_rules_duration_seconds_count 4")
		code, _ := get("/debug/pprof/")
		require.Equal(t, 404, code, "only on demand")
	})
}

func TestHealthPages(t *testing.T) {
	for _, row := range []struct {
		id    string
		node  *watchers.Node
		codes [2]int // of /healthz and /livez
	}{
		{"HC-04 no Node", nil, [2]int{503, 200}},
		{"HC-04 a Node", &watchers.Node{}, [2]int{200, 200}},
		{"HC-04 a Node that leaves", &watchers.Node{Deleting: true}, [2]int{503, 200}},
	} {
		t.Run(row.id, func(t *testing.T) {
			m := newMonitor(&sinktest.Recorder{})
			p, err := healthcheck.NewProxy(m, time.Minute)
			require.NoError(t, err)
			h := healthHandler(p, m, func() bool { return eligible(row.node) })
			var codes [2]int
			for i, path := range []string{"/healthz", "/livez"} {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				codes[i] = w.Code
			}
			require.Equal(t, row.codes, codes)
			t.Run("HC-05 answers are counted by their code", func(t *testing.T) {
				require.EqualValues(t, 1, testutil.ToFloat64(m.healthz.WithLabelValues(fmt.Sprint(codes[0]))))
				require.EqualValues(t, 1, testutil.ToFloat64(m.livez.WithLabelValues("200")))
			})
		})
	}
}
