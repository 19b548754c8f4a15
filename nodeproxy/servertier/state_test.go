// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
)

// newStateFixture returns the pages of a server whose state has a Node and a Service with a problem.
func newStateFixture(t *testing.T) http.Handler {
	store := watchers.NewStore()
	tier, err := New(Config{Name: "test", Store: store})
	require.NoError(t, err)
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- tier.Run(ctx, nil, listener, transport.Guard{Authenticate: transport.AnonymousAuthenticator("")})
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, tier.Close())
	})
	handler := tier.StateHandler()
	code, body := get(handler, "/state", "localhost:1")
	require.Equal(t, 200, code)
	require.Contains(t, body, "# Cluster state: cluster state is not complete yet")
	store.Update(func(tx *watchers.Tx) {
		name := watchers.ServiceName{Namespace: "shop", Name: "web"}
		tx.SetNode(&watchers.Node{Name: "node-1", Zone: "zone-a"})
		tx.SetService(&watchers.Service{
			Name: name, ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
			Ports:    []watchers.ServicePort{{Protocol: localsink.ProtocolTCP, Port: 80}},
			Problems: []watchers.Problem{{Object: "Service shop/web", Field: "spec.x", Message: "is odd"}},
		})
		tx.SetEndpointSlice(&watchers.EndpointSlice{
			Namespace: "shop", Name: "web-x", Service: name, Family: watchers.FamilyIPv4, Ports: []watchers.EndpointPort{{Protocol: localsink.ProtocolTCP, Port: 8080}},
			Endpoints: []watchers.Endpoint{{Addr: netip.MustParseAddr("10.244.0.1"), Node: "node-1"}},
		})
		tx.SetSynced()
	})
	<-tier.nodes.Ready()
	return handler
}

func get(h http.Handler, path, host string) (int, string) {
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
	r.Host = host
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestStatePagesOfServer(t *testing.T) {
	handler := newStateFixture(t)
	for path, want := range map[string][]string{
		"/state":                      {"# Nodes of this server\n# Revision: 1\n# Connected: 0 of 1\n", "node-1\tdisconnected\t"},
		"/state?output=json":          {`"name":"node-1"`, `"zone":"zone-a"`, `"connected":false`},
		"/state?output=html":          {"<!DOCTYPE html>"},
		"/state/services":             {"# With problems: 1\n", "\tService shop/web: spec.x: is odd\n"},
		"/state/services?output=json": {`"service":"shop/web","revision":1,`, `"problems":["Service shop/web: spec.x: is odd"]`},
		"/state/nodes/node-1":         {"zone-a", "# Services with problems on this node\n\nshop/web\tService shop/web: spec.x: is odd\n"},
		"/state/nodes/other":          {"There is no Node object of this name"},
		"/state/services/service/shop/web": {
			"applied by 0 nodes, lagging 0, disconnected 1", `# Node node-1, zone "zone-a"`, "10.244.0.1:8080\tnot used\tnot used\tit is not ready",
		},
		"/state/services/service/shop/web?output=page": {`"cells":["10.244.0.1:8080","not used","not used","it is not ready`},
	} {
		code, body := get(handler, path, "127.0.0.1:1")
		require.Equal(t, 200, code, path)
		for _, text := range want {
			require.Contains(t, body, text, path)
		}
	}
	for path, code := range map[string]int{
		"/state/services/service/shop/no": 404, "/state?output=xml": 400, "/state/nodes/node-1?output=events": 400, "/metrics": 404,
	} {
		got, _ := get(handler, path, "[::1]:1")
		require.Equal(t, code, got, path)
	}
}

// A page of another host cannot read the state through a name that it resolves to this address.
func TestStatePagesRefuseOtherNames(t *testing.T) {
	handler := newStateFixture(t)
	code, body := get(handler, "/state", "attacker.example:80")
	require.Equal(t, http.StatusForbidden, code)
	require.Equal(t, "Host \"attacker.example:80\": want localhost or an address\n", body)
}
