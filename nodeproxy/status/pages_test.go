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
		Pools:     []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort(endpoint), Weight: 1}}}},
		Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}}}},
	}}}
}

// A pagesFixture has the pages of a node whose rules may fail.
type pagesFixture struct {
	t       *testing.T
	rules   *failingSink
	driver  sinktest.Driver
	handler http.Handler
}

func newPagesFixture(t *testing.T) *pagesFixture {
	rules := &failingSink{}
	applied := NewAppliedSink(rules)
	tracker := problems.NewTracker(applied, nil)
	explain := func(name localsink.ServiceName) (*nodelocal.Explanation, error) {
		if name.Name == "invalid" {
			return nil, errors.New("injected")
		}
		if name.Name != "web" {
			return nil, nil
		}
		return &nodelocal.Explanation{Service: "ns/web\n", Unmatched: []string{"slice x has no port"}}, nil
	}
	return &pagesFixture{
		t: t, rules: rules,
		driver:  sinktest.Driver{Sink: tracker, Node: &localsink.Node{Name: "node-1"}},
		handler: Handler(Config{Applied: applied, Problems: tracker, Explain: explain}),
	}
}

func (f *pagesFixture) sync(services ...*localsink.Service) error {
	return f.driver.Sync(f.t.Context(), sinktest.NewState(services...))
}

func (f *pagesFixture) get(path string) (int, string) {
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func TestStatePages(t *testing.T) {
	f := newPagesFixture(t)
	_, body := f.get("/state")
	require.Contains(t, body, "no state is applied yet")

	svc := service("web", "10.0.0.1:80")
	require.NoError(t, f.sync(svc))
	_, body = f.get("/state")
	require.Contains(t, body, "# node node-1")
	require.Contains(t, body, "Any -> 10.0.0.1:80")

	code, body := f.get("/state/ns/web")
	require.Equal(t, 200, code)
	require.Contains(t, body, "# desired\nns/web\n  slice x has no port\n# applied\nns/web\n")
	_, body = f.get("/state/ns/web?output=json")
	var state serviceState
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.Equal(t, svc.Text(), state.Applied)
	require.Empty(t, state.Errors)
	code, _ = f.get("/state/ns/none")
	require.Equal(t, 404, code)
	code, body = f.get("/state/ns/invalid")
	require.Equal(t, 500, code)
	require.Equal(t, "injected\n", body)
}

// A fakeCounter returns an error if it has one.
type fakeCounter struct{ err error }

func (fakeCounter) CountsConnections() bool { return true }

func (c fakeCounter) FrontendConnections(context.Context, localsink.ServiceName) ([]localsink.FrontendConnections, error) {
	return []localsink.FrontendConnections{{Port: "http", Addr: netip.MustParseAddrPort("10.96.0.1:80"), Protocol: localsink.ProtocolTCP, Kind: localsink.KindClusterIP, Count: 7}}, nil
}

func (c fakeCounter) EndpointConnections(context.Context, localsink.ServiceName) ([]localsink.EndpointConnections, error) {
	return []localsink.EndpointConnections{{Port: "http", Frontend: netip.MustParseAddrPort("10.96.0.1:80"), Endpoint: netip.MustParseAddrPort("10.0.0.1:80"), Protocol: localsink.ProtocolTCP, Count: 7}}, c.err
}

func TestServicePageHasConnections(t *testing.T) {
	applied := NewAppliedSink(&failingSink{})
	tracker := problems.NewTracker(applied, nil)
	driver := sinktest.Driver{Sink: tracker, Node: &localsink.Node{Name: "node-1"}}
	require.NoError(t, driver.Sync(t.Context(), sinktest.NewState(service("web", "10.0.0.1:80"))))
	f := &pagesFixture{t: t, handler: Handler(Config{Applied: applied, Problems: tracker, Connections: fakeCounter{}})}
	_, body := f.get("/state/ns/web")
	require.Contains(t, body, "# new connections\nClusterIP 10.96.0.1:80/TCP: 7\n  10.96.0.1:80/TCP -> 10.0.0.1:80: 7\n")
	_, body = f.get("/state/ns/web?output=json")
	require.Contains(t, body, `"connections":{"frontends":[{"port":"http","protocol":"TCP","kind":"ClusterIP","address":"10.96.0.1:80","count":7}],`+
		`"endpoints":[{"port":"http","protocol":"TCP","frontend":"10.96.0.1:80","endpoint":"10.0.0.1:80","count":7}]}`)
	f.handler = Handler(Config{Applied: applied, Problems: tracker, Connections: fakeCounter{errors.New("injected")}})
	_, body = f.get("/state/ns/web")
	require.Contains(t, body, "# new connections\nerror: injected\n")
}

// fakeDetails has one detail.
type fakeDetails struct{}

func (fakeDetails) StateDetails(context.Context) []Detail {
	return []Detail{{Name: "maps", Value: []int{1, 2}, Lines: []string{"a: 1", "b: 2"}}}
}

func TestNodePageHasDetails(t *testing.T) {
	f := newPagesFixture(t)
	_, body := f.get("/state?output=json")
	require.NotContains(t, body, "details")
	applied := NewAppliedSink(&failingSink{})
	f.handler = Handler(Config{Applied: applied, Problems: problems.NewTracker(applied, nil), Details: fakeDetails{}})
	_, body = f.get("/state")
	require.Contains(t, body, "\n# maps\na: 1\nb: 2\n")
	_, body = f.get("/state?output=json")
	require.Contains(t, body, `"details":{"maps":[1,2]}`)
}

// TestOP14StatePagesOfServiceNotProgrammed expects its error on its own page and on that of
// the node.
func TestOP14StatePagesOfServiceNotProgrammed(t *testing.T) {
	f := newPagesFixture(t)
	web, refused := service("web", "10.0.0.1:80"), service("refused", "10.0.0.2:80")
	require.NoError(t, f.sync(web))
	f.rules.notProgrammed = map[localsink.ServiceName]error{refused.Name: errors.New("no space")}
	require.NoError(t, f.sync(web, refused))
	_, body := f.get("/state/ns/refused")
	require.Contains(t, body, "# errors\nerror (since ")
	require.Contains(t, body, "): no space\n")
	_, body = f.get("/state/ns/web")
	require.NotContains(t, body, "error")
	_, body = f.get("/state")
	require.Contains(t, body, "): no space\n")
	require.NotContains(t, body, "is not applied")
}

// TestOP14StatePagesOfFailedUpdate: an update that fails is an error of each Service that it
// contains.
func TestOP14StatePagesOfFailedUpdate(t *testing.T) {
	f := newPagesFixture(t)
	web, refused, fresh := service("web", "10.0.0.1:80"), service("refused", "10.0.0.2:80"), service("fresh", "10.0.0.3:80")
	require.NoError(t, f.sync(web))
	f.rules.notProgrammed = map[localsink.ServiceName]error{refused.Name: errors.New("no space")}
	require.NoError(t, f.sync(web, refused))
	f.rules.notProgrammed = nil

	f.rules.err = errors.New("kernel busy")
	require.Error(t, f.sync(web, refused, fresh))
	_, body := f.get("/state")
	require.Contains(t, body, "# the last attempt failed: kernel busy\n")
	require.Contains(t, body, "ns/fresh\n  # is not applied\n  # error (since ")
	_, body = f.get("/state/ns/fresh")
	require.Contains(t, body, "): kernel busy\n")
	_, body = f.get("/state/ns/web")
	require.NotContains(t, body, "busy", "the update does not contain it")
	_, body = f.get("/state?output=json")
	var all nodeState
	require.NoError(t, json.Unmarshal([]byte(body), &all))
	require.Equal(t, "kernel busy", all.LastError)
	require.Equal(t, "node-1", all.Node)
	require.Len(t, all.Services, 3)
	require.Equal(t, "ns/fresh", all.Services[0].Service)
	require.Empty(t, all.Services[0].Applied)
	require.False(t, all.Services[0].Errors[0].Resolved)

	f.rules.err = nil
	require.NoError(t, f.sync(web, refused, fresh))
	_, body = f.get("/state/ns/fresh?output=json")
	var state serviceState
	require.NoError(t, json.Unmarshal([]byte(body), &state))
	require.Equal(t, fresh.Text(), state.Applied)
	require.True(t, state.Errors[0].Resolved, "the failure is remembered")
	_, body = f.get("/state/ns/fresh")
	require.Contains(t, body, ", resolved): kernel busy\n")
}

// Browsers get the page, its rows and its details from the addresses of the text.
func TestPageForBrowsers(t *testing.T) {
	f := newPagesFixture(t)
	browser := func(path string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept", "text/html,*/*;q=0.8")
		f.handler.ServeHTTP(w, r)
		return w
	}
	require.Contains(t, browser("/state").Header().Get("Content-Type"), "text/html")
	w := browser("/state/ns/none")
	require.Equal(t, http.StatusNotFound, w.Code)

	web, refused := service("web", "10.0.0.1:80"), service("refused", "10.0.0.2:80")
	web.Problems = []localsink.Problem{{Object: "Service ns/web", Field: "spec.x", Message: "is odd"}}
	f.rules.notProgrammed = map[localsink.ServiceName]error{refused.Name: errors.New("no space")}
	require.NoError(t, f.sync(web, refused))
	w = browser("/state/ns/web")
	require.Equal(t, http.StatusFound, w.Code)
	require.Equal(t, "../../state#ns%2Fweb", w.Header().Get("Location"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel() // one event
	events := httptest.NewRecorder()
	f.handler.ServeHTTP(events, httptest.NewRequest(http.MethodGet, "/state?output=events", nil).WithContext(ctx))
	require.Contains(t, events.Body.String(), `{"key":"ns/web","cells":["ns/web","10.96.0.1:80/TCP","1","Service ns/web: spec.x: is odd"],"level":"warning","detail":"ns/web"}`)
	require.Contains(t, events.Body.String(), `"cells":["ns/refused","10.96.0.1:80/TCP","1","no space"],"level":"error"`)

	_, body := f.get("/state/ns/web?output=page")
	require.Contains(t, body, `{"title":"Endpoints","text":"slice x has no port"`)
	require.Contains(t, body, `{"title":"Desired","text":"ns/web\n"}`)
	_, body = f.get("/state/ns/refused?output=page")
	require.Contains(t, body, `"columns":["Error","Since","Last seen","Resolved"],"rows":[{"key":"","cells":["no space"`)
	for _, path := range []string{"/state?output=xml", "/state/ns/web?output=xml"} {
		code, body := f.get(path)
		require.Equal(t, http.StatusBadRequest, code)
		require.Equal(t, "output \"xml\": want text, json or html\n", body)
	}
}
