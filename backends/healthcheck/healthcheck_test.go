// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
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

// A proxyFixture is a Proxy around a sink that returns err.
type proxyFixture struct {
	t        *testing.T
	proxy    *Proxy
	err      error
	eligible bool
}

func (p *proxyFixture) sync() { _ = p.proxy.Sync(p.t.Context(), &localsink.Update{}) }

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

// runProxyRows runs each row with a new Proxy whose timeout is a minute.
func runProxyRows(t *testing.T, rows []proxyRow) {
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &proxyFixture{t: t, eligible: true}
				var err error
				p.proxy, err = NewProxy(localsink.Func(func(context.Context, *localsink.Update) error { return p.err }), time.Minute)
				require.NoError(t, err)
				row.run(p)
			})
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
}

func newServices(t testing.TB) *Services {
	s, err := NewServices(Config{})
	require.NoError(t, err)
	return s
}

// loopback returns a node whose node ports answer on 127.0.0.1 only.
func loopback() *localsink.Node {
	return &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

// newService returns a Service with a health check port.
func newService(name string, port uint16, local int) *localsink.Service {
	return &localsink.Service{
		Name:        localsink.ServiceName{Namespace: "ns", Name: name},
		HealthCheck: &localsink.HealthCheck{Port: port, LocalEndpoints: local},
	}
}

// freePort returns an unused TCP port.
func freePort(t *testing.T) uint16 {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

// getCheck requests a health check. code is 0 if the connection fails.
func getCheck(t *testing.T, port uint16) (code int, weight string, body serviceBody) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/any/path", port))
	if err != nil {
		return 0, "", body
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &body))
	return resp.StatusCode, resp.Header.Get("X-Load-Balancing-Endpoint-Weight"), body
}

// A servicesFixture drives Services with listeners on 127.0.0.1.
type servicesFixture struct {
	t       *testing.T
	sink    *Services
	current localsink.State
	node    *localsink.Node
	healthy bool
	log     bytes.Buffer
}

func newServicesFixture(t *testing.T) *servicesFixture {
	c := &servicesFixture{t: t, node: loopback(), healthy: true}
	var err error
	c.sink, err = NewServices(Config{
		Healthy: func() bool { return c.healthy },
		Logger:  slog.New(slog.NewTextHandler(&c.log, nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { goleak.VerifyNone(t) })
	t.Cleanup(func() { require.NoError(t, c.sink.Close()) })
	return c
}

func (c *servicesFixture) sync(services ...*localsink.Service) {
	next := sinktest.NewState(services...)
	require.NoError(c.t, c.sink.Sync(c.t.Context(), sinktest.NewUpdate(c.node, c.current, next)))
	c.current = next
}

// code returns the status of a health check, or 0 if the port is closed.
func (c *servicesFixture) code(port uint16) int {
	code, _, _ := getCheck(c.t, port)
	return code
}

type serviceRow struct {
	id  string
	run func(c *servicesFixture, a, b uint16) // a and b are unused ports
}

// runServiceRows runs rows, some of which are those of kube-proxy's test of Service health
// checks, each with new Services.
func runServiceRows(t *testing.T, rows []serviceRow) {
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			a, b := freePort(t), freePort(t)
			for a == b {
				b = freePort(t)
			}
			row.run(newServicesFixture(t), a, b)
		})
	}
}

func TestServiceHealthResponses(t *testing.T) {
	runServiceRows(t, []serviceRow{
		{"6.8 service HC HC-11 no local endpoints", func(c *servicesFixture, a, _ uint16) {
			c.sync(newService("a", a, 0))
			require.Equal(c.t, 503, c.code(a))
		}},
		{"6.8 service HC HC-11 HC-13 complete response", func(c *servicesFixture, a, b uint16) {
			c.sync(newService("a", a, 0), newService("b", b, 18))
			code, weight, body := getCheck(c.t, b)
			require.Equal(c.t, 200, code)
			require.Equal(c.t, "18", weight)
			var want serviceBody
			want.Service.Namespace, want.Service.Name, want.LocalEndpoints, want.ServiceProxyHealthy = "ns", "b", 18, true
			require.Equal(c.t, want, body)
			_, weight, _ = getCheck(c.t, a)
			require.Equal(c.t, "0", weight)
		}},
		{"6.8 service HC HC-11 unhealthy proxy", func(c *servicesFixture, a, _ uint16) {
			c.sync(newService("a", a, 18))
			c.healthy = false
			code, weight, body := getCheck(c.t, a)
			require.Equal(c.t, 503, code)
			require.Equal(c.t, "18", weight)
			require.False(c.t, body.ServiceProxyHealthy)
			c.healthy = true
			require.Equal(c.t, 200, c.code(a))
		}},
		{"6.8 service HC HC-12 number of local endpoints changes", func(c *servicesFixture, a, b uint16) {
			c.sync(newService("a", a, 0), newService("b", b, 18))
			c.sync(newService("a", a, 2), newService("b", b, 0))
			require.Equal(c.t, 200, c.code(a))
			require.Equal(c.t, 503, c.code(b))
		}},
		{"HC-10 any path and method", func(c *servicesFixture, a, _ uint16) {
			c.sync(newService("a", a, 2))
			client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
			for _, method := range []string{"GET", "HEAD", "POST", "OPTIONS"} {
				request, err := http.NewRequestWithContext(c.t.Context(), method, fmt.Sprintf("http://127.0.0.1:%d/a/b?c", a), nil)
				require.NoError(c.t, err)
				response, err := client.Do(request)
				require.NoError(c.t, err)
				require.NoError(c.t, response.Body.Close())
				require.Equal(c.t, 200, response.StatusCode, method)
				require.Equal(c.t, "application/json", response.Header.Get("Content-Type"))
				require.Equal(c.t, "nosniff", response.Header.Get("X-Content-Type-Options"))
			}
		}},
	})
}

func TestServiceHealthPorts(t *testing.T) {
	runServiceRows(t, []serviceRow{
		{"6.8 service HC HC-14 port changes", func(c *servicesFixture, a, b uint16) {
			c.sync(newService("a", a, 2))
			c.sync(newService("a", b, 2))
			require.Zero(c.t, c.code(a))
			require.Equal(c.t, 200, c.code(b))
		}},
		{"6.8 service HC HC-14 Service is removed and added again", func(c *servicesFixture, a, b uint16) {
			c.sync(newService("a", a, 2), newService("b", b, 2))
			c.sync(newService("b", b, 2))
			require.Zero(c.t, c.code(a))
			require.Equal(c.t, 200, c.code(b))
			c.sync(newService("a", a, 1), newService("b", b, 2))
			require.Equal(c.t, 200, c.code(a))
		}},
		{"HC-14 policy changes from Local to Cluster", func(c *servicesFixture, a, _ uint16) {
			c.sync(newService("a", a, 2))
			plain := newService("a", a, 2)
			plain.HealthCheck = nil
			c.sync(plain)
			require.Zero(c.t, c.code(a))
		}},
		{"HC-14 two Services swap ports in one update", func(c *servicesFixture, a, b uint16) {
			c.sync(newService("a", a, 0), newService("b", b, 2))
			c.sync(newService("a", b, 0), newService("b", a, 2))
			require.Equal(c.t, 200, c.code(a))
			require.Equal(c.t, 503, c.code(b))
			require.Empty(c.t, c.log.String())
			require.Empty(c.t, c.sink.NotProgrammed())
		}},
		{"6.8 service HC HC-14 Service without health check", func(c *servicesFixture, a, _ uint16) {
			plain := newService("a", a, 2)
			plain.HealthCheck = nil
			c.sync(plain)
			require.Zero(c.t, c.code(a))
		}},
		{"HC-14 a port moves to another Service", func(c *servicesFixture, a, b uint16) {
			c.sync(newService("a", a, 2), newService("b", b, 1))
			c.sync(newService("b", a, 1))
			code, _, body := getCheck(c.t, a)
			require.Equal(c.t, 200, code)
			require.Equal(c.t, "b", body.Service.Name)
		}},
		{"6.8 service HC HC-10 node port addresses change", func(c *servicesFixture, a, _ uint16) {
			c.sync(newService("a", a, 2))
			require.Equal(c.t, 200, c.code(a))
			c.node = &localsink.Node{}
			c.sync(newService("a", a, 2))
			require.Zero(c.t, c.code(a), "no node port addresses")
			c.node = &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
			c.sync(newService("a", a, 2))
			require.Equal(c.t, 200, c.code(a), "all IPv4 addresses")
			c.node = &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
			c.sync(newService("a", a, 2))
			require.Equal(c.t, 200, c.code(a), "addresses in a network")
		}},
	})
}

func TestServiceHealthPortInUse(t *testing.T) {
	runServiceRows(t, []serviceRow{
		{"HC-15 a port in use is logged once and retried", func(c *servicesFixture, a, b uint16) {
			taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b))
			require.NoError(c.t, err)
			c.sync(newService("a", a, 2), newService("b", b, 1))
			c.sync(newService("a", a, 3), newService("b", b, 1))
			require.Equal(c.t, 1, bytes.Count(c.log.Bytes(), []byte("level=ERROR")), c.log.String())
			require.Len(c.t, c.sink.NotProgrammed(), 1)
			require.ErrorContains(c.t, c.sink.NotProgrammed()[localsink.ServiceName{Namespace: "ns", Name: "b"}], "Service ns/b: spec.healthCheckNodePort")
			require.Equal(c.t, 200, c.code(a), "other Services still answer")
			require.NoError(c.t, taken.Close())
			c.sink.retryTimer.Reset(0)
			<-c.sink.ResyncRequested()
			require.NoError(c.t, c.sink.Sync(c.t.Context(), &localsink.Update{Node: c.node, All: c.current}))
			require.Equal(c.t, 200, c.code(b))
			require.Empty(c.t, c.sink.NotProgrammed())
		}},
		{"HC-15 removing the Service clears the failure", func(c *servicesFixture, a, _ uint16) {
			taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", a))
			require.NoError(c.t, err)
			defer taken.Close()
			c.sync(newService("a", a, 1))
			require.Len(c.t, c.sink.NotProgrammed(), 1)
			c.sync()
			require.Empty(c.t, c.sink.NotProgrammed())
		}},
	})
}
