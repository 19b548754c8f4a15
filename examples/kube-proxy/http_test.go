package main

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/nodelocal"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestStatePages(t *testing.T) {
	m := newMonitor(&sinktest.Recorder{})
	explain := func(name localsink.ServiceName) (*nodelocal.Explanation, error) {
		if name.Name != "web" {
			return nil, nil
		}
		return &nodelocal.Explanation{Service: "ns/web\n", Unmatched: []string{"slice x has no port"}}, nil
	}
	h := metricsHandler(m, &options{configuration: configuration{Mode: "nftables"}}, explain)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	_, body := get("/state")
	require.Contains(t, body, "nothing is applied yet")

	svc := service("web", localsink.Reject, "10.0.0.1:80")
	svc.Name.Namespace = "ns"
	d := sinktest.Driver{Sink: m, Node: &localsink.Node{Name: "node-1"}}
	require.NoError(t, d.Sync(t.Context(), sinktest.State(svc)))
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
	code, _ = get("/state/ns/none")
	require.Equal(t, 404, code)

	_, body = get("/proxyMode")
	require.Equal(t, "nftables", body)
	_, body = get("/metrics")
	require.Contains(t, body, "kubeproxy_sync_proxy_rules_duration_seconds_count 1")
}
