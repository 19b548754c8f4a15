// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/problems"
)

// A failingSink fails with the given errors.
type failingSink struct {
	err           error
	notProgrammed map[localsink.ServiceName]error
}

func (s *failingSink) Sync(context.Context, *localsink.Update) error { return s.err }

func (s *failingSink) NotProgrammed() map[localsink.ServiceName]error {
	return maps.Clone(s.notProgrammed)
}

func service(name, endpoint string) *localsink.Service {
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: name}, Ports: []localsink.Port{{
		Protocol:  localsink.ProtocolTCP,
		Pools:     []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort(endpoint)}}}},
		Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}}}},
	}}}
}

func explain(name localsink.ServiceName) (*nodelocal.Explanation, error) {
	if name.Name == "invalid" {
		return nil, errors.New("injected")
	}
	if name.Name != "web" {
		return nil, nil
	}
	return &nodelocal.Explanation{Service: "ns/web\n", Unmatched: []string{"slice x has no port"}}, nil
}

func TestOP14StatePages(t *testing.T) {
	rules := &failingSink{}
	applied := NewAppliedSink(rules)
	tracker := problems.NewTracker(applied, nil)
	h := Handler(Config{Applied: applied, Problems: tracker, Explain: explain})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	_, body := get("/state")
	require.Contains(t, body, "no state is applied yet")

	svc := service("web", "10.0.0.1:80")
	d := sinktest.Driver{Sink: tracker, Node: &localsink.Node{Name: "node-1"}}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc)))
	_, body = get("/state")
	require.Contains(t, body, "# node node-1")
	require.Contains(t, body, "Any -> 10.0.0.1:80")

	code, body := get("/state/ns/web")
	require.Equal(t, 200, code)
	require.Contains(t, body, "# desired\nns/web\n  slice x has no port\n# applied\nns/web\n")
	_, body = get("/state/ns/web?output=json")
	var state serviceState
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.Equal(t, svc.Text(), state.Applied)
	require.Empty(t, state.Errors)
	code, _ = get("/state/ns/none")
	require.Equal(t, 404, code)
	code, body = get("/state/ns/invalid")
	require.Equal(t, 500, code)
	require.Equal(t, "injected\n", body)

	// OP-14: a Service that is not programmed is an error on its own page and on that of
	// the node.
	refused := service("refused", "10.0.0.2:80")
	rules.notProgrammed = map[localsink.ServiceName]error{refused.Name: errors.New("no space")}
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc, refused)))
	_, body = get("/state/ns/refused")
	require.Contains(t, body, "# errors\nerror (since ")
	require.Contains(t, body, "): no space\n")
	_, body = get("/state/ns/web")
	require.NotContains(t, body, "error")
	_, body = get("/state")
	require.Contains(t, body, "): no space\n")
	require.NotContains(t, body, "is not applied")
	rules.notProgrammed = nil

	// An update that fails is an error of each Service that it contains.
	rules.err = errors.New("kernel busy")
	fresh := service("fresh", "10.0.0.3:80")
	require.Error(t, d.Sync(t.Context(), sinktest.NewState(svc, refused, fresh)))
	_, body = get("/state")
	require.Contains(t, body, "# the last attempt failed: kernel busy\n")
	require.Contains(t, body, "ns/fresh\n  # is not applied\n  # error (since ")
	_, body = get("/state/ns/fresh")
	require.Contains(t, body, "): kernel busy\n")
	_, body = get("/state/ns/web")
	require.NotContains(t, body, "busy", "the update does not contain it")
	_, body = get("/state?output=json")
	var all nodeState
	require.NoError(t, json.Unmarshal([]byte(body), &all))
	require.Equal(t, "kernel busy", all.LastError)
	require.Equal(t, "node-1", all.Node)
	require.Len(t, all.Services, 3)
	require.Equal(t, "ns/fresh", all.Services[0].Service)
	require.Empty(t, all.Services[0].Applied)
	require.False(t, all.Services[0].Errors[0].Resolved)
	rules.err = nil
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState(svc, refused, fresh)))
	_, body = get("/state/ns/fresh?output=json")
	state = serviceState{}
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.Equal(t, fresh.Text(), state.Applied)
	require.True(t, state.Errors[0].Resolved, "the failure is remembered")
	_, body = get("/state/ns/fresh")
	require.Contains(t, body, ", resolved): kernel busy\n")
}
