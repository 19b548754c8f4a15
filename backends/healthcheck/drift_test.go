// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

// A driftingSink reports drift since some time.
type driftingSink struct{ since time.Time }

func (s *driftingSink) Sync(context.Context, *localsink.Update) error { return nil }
func (s *driftingSink) DriftedSince() time.Time                       { return s.since }

// A node with known drift gets no traffic from load balancers at once, but
// is restarted only if it does not repair itself.
func TestProxyIsUnhealthyWhileDriftIsNotRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := &driftingSink{}, &driftingSink{}
		proxy, err := NewProxy(localsink.Tee(one, localsink.Chain(two)), time.Minute)
		require.NoError(t, err)
		expect := func(healthz, livez int) {
			t.Helper()
			code, body := get(t, proxy.Healthz(func() bool { return true }))
			require.Equal(t, healthz, code)
			require.Equal(t, healthz == http.StatusOK, body["healthy"])
			require.Equal(t, healthz == http.StatusOK, proxy.Healthy())
			code, body = get(t, proxy.Livez())
			require.Equal(t, livez, code)
			require.Equal(t, livez == http.StatusOK, body["healthy"])
		}
		require.NoError(t, proxy.Sync(t.Context(), &localsink.Update{}))
		time.Sleep(time.Hour)
		expect(200, 200)
		two.since = time.Now()
		expect(503, 200)
		time.Sleep(30 * time.Second)
		one.since = time.Now()
		expect(503, 200)
		time.Sleep(30 * time.Second)
		expect(503, 503)
		two.since = time.Time{}
		expect(503, 200)
		require.NoError(t, proxy.Sync(t.Context(), &localsink.Update{}))
		expect(503, 200) // not repaired by that
		one.since = time.Time{}
		expect(200, 200)
	})
}

// A program without sinks reports drift in the same way.
func TestProxyHealthWithDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drift := &driftingSink{}
		health, err := NewProxyHealth(time.Minute, drift)
		require.NoError(t, err)
		health.Applied()
		require.True(t, health.Healthy())
		drift.since = time.Now()
		require.False(t, health.Healthy())
		code, _ := get(t, health.Livez())
		require.Equal(t, 200, code)
		drift.since = time.Time{}
		require.True(t, health.Healthy())
	})
}
