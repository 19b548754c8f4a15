// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
)

func get(t *testing.T, h http.Handler) (int, map[string]any) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
	var body map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	return w.Code, body
}

// A proxyFixture has the health of a proxy that applies updates unless err is set: a Proxy
// around a sink, or a ProxyHealth without one.
type proxyFixture struct {
	t      *testing.T
	update func() error
	proxy  interface {
		Healthy() bool
		Livez() http.Handler
		Healthz(eligible func() bool) http.Handler
	}
	err      error
	eligible bool
}

func newProxyFixture(t *testing.T, withSink bool) *proxyFixture {
	p := &proxyFixture{t: t, eligible: true}
	if withSink {
		proxy, err := NewProxy(localsink.Func(func(context.Context, *localsink.Update) error { return p.err }), time.Minute)
		require.NoError(t, err)
		p.proxy, p.update = proxy, func() error { return proxy.Sync(t.Context(), &localsink.Update{}) }
		return p
	}
	health, err := NewProxyHealth(time.Minute)
	require.NoError(t, err)
	p.proxy, p.update = health, func() error {
		health.Pending()
		if p.err == nil {
			health.Applied()
		}
		return p.err
	}
	return p
}

func (p *proxyFixture) sync() { require.Equal(p.t, p.err, p.update()) }

func (p *proxyFixture) syncFails() {
	p.err = errors.New("injected")
	p.sync()
}

func (p *proxyFixture) syncSucceeds() {
	p.err = nil
	p.sync()
}

// expect requests /healthz and /livez.
func (p *proxyFixture) expect(wantHealthz, wantLivez int) {
	p.t.Helper()
	code, body := get(p.t, p.proxy.Healthz(func() bool { return p.eligible }))
	require.Equal(p.t, wantHealthz, code)
	require.Equal(p.t, p.eligible, body["nodeEligible"])
	require.Equal(p.t, wantLivez == 200, body["healthy"], "healthy does not depend on the node")
	require.Equal(p.t, wantLivez == 200, p.proxy.Healthy())
	code, body = get(p.t, p.proxy.Livez())
	require.Equal(p.t, wantLivez, code)
	require.Equal(p.t, wantLivez == 200, body["healthy"])
	require.NotContains(p.t, body, "nodeEligible")
}

type proxyRow struct {
	id  string
	run func(p *proxyFixture)
}

// runProxyRows runs each row with a new Proxy and with a new ProxyHealth. The timeout is a
// minute.
func runProxyRows(t *testing.T, rows []proxyRow) {
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			for name, withSink := range map[string]bool{"sink": true, "health": false} {
				t.Run(name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { row.run(newProxyFixture(t, withSink)) })
				})
			}
		})
	}
}

func TestProxyHealthDependsOnUpdates(t *testing.T) {
	runProxyRows(t, []proxyRow{
		{"6.8 healthz HC-02 healthy while starting", func(p *proxyFixture) { p.expect(200, 200) }},
		{"HC-02b no update is ever applied", func(p *proxyFixture) {
			time.Sleep(59 * time.Second)
			p.syncFails()
			p.expect(200, 200)
			time.Sleep(time.Second)
			p.expect(503, 503)
		}},
		{"HC-02b no update ever arrives", func(p *proxyFixture) {
			time.Sleep(time.Minute)
			p.expect(503, 503)
		}},
		{"HC-02 all updates are applied", func(p *proxyFixture) {
			p.sync()
			time.Sleep(1000 * time.Hour)
			p.expect(200, 200)
		}},
		{"6.8 healthz HC-02 pending update within the timeout", func(p *proxyFixture) {
			p.sync()
			p.syncFails()
			time.Sleep(time.Minute - 1)
			p.expect(200, 200)
		}},
		{"6.8 healthz HC-02 HC-03 pending update beyond the timeout", func(p *proxyFixture) {
			p.sync()
			p.syncFails()
			time.Sleep(time.Minute)
			p.expect(503, 503)
		}},
		{"6.8 healthz HC-02 repeated updates do not extend the timeout", func(p *proxyFixture) {
			p.sync()
			for range 6 {
				p.syncFails()
				time.Sleep(10 * time.Second)
			}
			p.syncFails()
			p.expect(503, 503)
		}},
		{"6.8 healthz HC-06 healthy again after the next applied update", func(p *proxyFixture) {
			p.sync()
			p.syncFails()
			time.Sleep(time.Hour)
			p.expect(503, 503)
			p.syncSucceeds()
			p.expect(200, 200)
			p.syncFails()
			time.Sleep(30 * time.Second)
			p.expect(200, 200) // a new deadline
		}},
	})
}

func TestProxyHealthReportsNode(t *testing.T) {
	runProxyRows(t, []proxyRow{
		{"6.8 healthz HC-03 HC-04 node not eligible", func(p *proxyFixture) {
			p.sync()
			p.eligible = false
			p.expect(503, 200)
			p.eligible = true
			p.expect(200, 200)
		}},
		{"HC-03 unhealthy and node not eligible", func(p *proxyFixture) {
			p.sync()
			p.syncFails()
			p.eligible = false
			time.Sleep(time.Hour)
			p.expect(503, 503)
		}},
		{"HC-01 HC-03 response body", func(p *proxyFixture) {
			p.sync()
			applied := time.Now()
			time.Sleep(time.Minute)
			_, body := get(p.t, p.proxy.Healthz(func() bool { return true }))
			now := time.Now().Format(time.RFC3339Nano)
			require.Equal(p.t, now, body["currentTime"])
			require.Equal(p.t, now, body["lastUpdated"], "the current time while healthy")
			family := map[string]any{"lastUpdated": applied.Format(time.RFC3339Nano), "healthy": true}
			require.Equal(p.t, map[string]any{"IPv4": family, "IPv6": family}, body["status"])
			require.Len(p.t, body, 5)
			_, body = get(p.t, p.proxy.Healthz(func() bool { return false }))
			require.Equal(p.t, applied.Format(time.RFC3339Nano), body["lastUpdated"], "the time of the last applied update")
			_, body = get(p.t, p.proxy.Livez())
			require.Len(p.t, body, 4)
		}},
	})
}

// TestNewProxyValidates expects an error for each invalid argument.
func TestNewProxyValidates(t *testing.T) {
	_, err := NewProxy(nil, time.Minute)
	require.EqualError(t, err, "healthcheck: NewProxy: inner: required")
	_, err = NewProxy(localsink.Func(func(context.Context, *localsink.Update) error { return nil }), 0)
	require.EqualError(t, err, "healthcheck: NewProxy: timeout: 0s is not positive")
	_, err = NewProxyHealth(-time.Second)
	require.EqualError(t, err, "healthcheck: NewProxyHealth: timeout: -1s is not positive")
}
