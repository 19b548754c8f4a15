// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
)

// TestHC03HC04Health: an agent says that it is alive while it waits for a server,
// for a minute, and that load balancers may come when a state is in place and the node is
// not leaving.
func TestHC03HC04Health(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fails error
		health, err := healthcheck.NewProxy(localsink.Func(func(context.Context, *localsink.Update) error { return fails }), time.Minute)
		require.NoError(t, err)
		n := &eligibility{inner: health}
		expect := func(healthz, livez int) {
			t.Helper()
			require.Equal(t, healthz, ask(health.Healthz(n.eligible)), "healthz")
			require.Equal(t, livez, ask(health.Livez()), "livez")
		}
		sync := func(leaving bool) {
			t.Helper()
			require.ErrorIs(t, n.Sync(t.Context(), &localsink.Update{Node: &localsink.Node{Deleting: leaving}}), fails)
		}
		expect(503, 200) // no server has said anything
		fails = errors.New("no")
		sync(false)
		expect(503, 200) // nothing is in place
		fails = nil
		sync(false)
		expect(200, 200)
		sync(true)
		expect(503, 200)
		sync(false)
		expect(200, 200)
		fails = errors.New("no")
		sync(true)
		expect(503, 200) // whether or not it can be applied
		time.Sleep(time.Minute)
		expect(503, 503)
	})
}

func ask(h http.Handler) (code int) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	return w.Code
}
