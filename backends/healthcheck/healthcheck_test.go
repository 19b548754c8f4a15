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

// A patient is a Proxy around a sink that fails when told to.
type patient struct {
	t        *testing.T
	proxy    *Proxy
	fail     error
	eligible bool
}

func (p *patient) sync() { _ = p.proxy.Sync(p.t.Context(), &localsink.Update{}) }

func (p *patient) failing() {
	p.fail = errors.New("injected")
	p.sync()
}

func (p *patient) healing() {
	p.fail = nil
	p.sync()
}

// expect asks both pages.
func (p *patient) expect(wantHealthz, wantLivez int) {
	p.t.Helper()
	code, body := get(p.t, p.proxy.Healthz(func() bool { return p.eligible }))
	require.Equal(p.t, wantHealthz, code)
	require.Equal(p.t, p.eligible, body["nodeEligible"])
	require.Equal(p.t, wantLivez == 200, body["healthy"], "whatever the node is")
	require.Equal(p.t, wantLivez == 200, p.proxy.Healthy())
	code, body = get(p.t, p.proxy.Livez())
	require.Equal(p.t, wantLivez, code)
	require.Equal(p.t, wantLivez == 200, body["healthy"])
	require.NotContains(p.t, body, "nodeEligible")
}

// TestProxyHealth: each row begins with a proxy whose timeout is a minute.
func TestProxyHealth(t *testing.T) {
	for _, row := range []struct {
		id    string
		story func(p *patient)
	}{
		{"6.8 healthz HC-02 healthy while it starts", func(p *patient) { p.expect(200, 200) }},
		{"HC-02b nothing ever succeeds", func(p *patient) {
			time.Sleep(59 * time.Second)
			p.failing()
			p.expect(200, 200)
			time.Sleep(time.Second)
			p.expect(503, 503)
		}},
		{"HC-02b nothing was ever asked for", func(p *patient) {
			time.Sleep(time.Minute)
			p.expect(503, 503)
		}},
		{"HC-02 nothing is outstanding", func(p *patient) {
			p.sync()
			time.Sleep(1000 * time.Hour)
			p.expect(200, 200)
		}},
		{"6.8 healthz HC-02 outstanding, within the timeout", func(p *patient) {
			p.sync()
			p.failing()
			time.Sleep(time.Minute - 1)
			p.expect(200, 200)
		}},
		{"6.8 healthz HC-02 HC-03 outstanding for too long", func(p *patient) {
			p.sync()
			p.failing()
			time.Sleep(time.Minute)
			p.expect(503, 503)
		}},
		{"6.8 healthz HC-02 asking again does not push the deadline", func(p *patient) {
			p.sync()
			for range 6 {
				p.failing()
				time.Sleep(10 * time.Second)
			}
			p.failing()
			p.expect(503, 503)
		}},
		{"6.8 healthz HC-06 heals with the next success", func(p *patient) {
			p.sync()
			p.failing()
			time.Sleep(time.Hour)
			p.expect(503, 503)
			p.healing()
			p.expect(200, 200)
			p.failing()
			time.Sleep(30 * time.Second)
			p.expect(200, 200) // a new deadline
		}},
		{"6.8 healthz HC-03 HC-04 a node about to vanish", func(p *patient) {
			p.sync()
			p.eligible = false
			p.expect(503, 200)
			p.eligible = true
			p.expect(200, 200)
		}},
		{"HC-03 both at once", func(p *patient) {
			p.sync()
			p.failing()
			p.eligible = false
			time.Sleep(time.Hour)
			p.expect(503, 503)
		}},
		{"HC-01 HC-03 the body", func(p *patient) {
			p.sync()
			succeeded := time.Now()
			time.Sleep(time.Minute)
			_, body := get(p.t, p.proxy.Healthz(func() bool { return true }))
			now := time.Now().Format(time.RFC3339Nano)
			require.Equal(p.t, now, body["currentTime"])
			require.Equal(p.t, now, body["lastUpdated"], "now, as all is well")
			was := map[string]any{"lastUpdated": succeeded.Format(time.RFC3339Nano), "healthy": true}
			require.Equal(p.t, map[string]any{"IPv4": was, "IPv6": was}, body["status"])
			require.Len(p.t, body, 5)
			_, body = get(p.t, p.proxy.Healthz(func() bool { return false }))
			require.Equal(p.t, succeeded.Format(time.RFC3339Nano), body["lastUpdated"], "the last success, as all is not well")
			_, body = get(p.t, p.proxy.Livez())
			require.Len(p.t, body, 4)
		}},
	} {
		t.Run(row.id, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &patient{t: t, eligible: true}
				p.proxy = NewProxy(localsink.Func(func(context.Context, *localsink.Update) error { return p.fail }), time.Minute)
				row.story(p)
			})
		})
	}
}

func loopback() *localsink.Node {
	return &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

func checked(name string, port uint16, local int) *localsink.Service {
	return &localsink.Service{
		Name:        localsink.ServiceName{Namespace: "ns", Name: name},
		HealthCheck: &localsink.HealthCheck{Port: port, LocalEndpoints: local},
	}
}

// freePort returns a TCP port that nobody has.
func freePort(t *testing.T) uint16 {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

func ask(t *testing.T, port uint16) (code int, weight string, body serviceBody) {
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

// A clinic is health checks of Services with real listeners on 127.0.0.1.
type clinic struct {
	t       *testing.T
	sink    *Services
	now     localsink.State
	node    *localsink.Node
	healthy bool
	log     bytes.Buffer
}

func newClinic(t *testing.T) *clinic {
	c := &clinic{t: t, node: loopback(), healthy: true}
	c.sink = NewServices(Config{
		Healthy: func() bool { return c.healthy },
		Logger:  slog.New(slog.NewTextHandler(&c.log, nil)),
	})
	t.Cleanup(func() { goleak.VerifyNone(t) })
	t.Cleanup(c.sink.Close)
	return c
}

func (c *clinic) move(services ...*localsink.Service) {
	next := sinktest.NewState(services...)
	require.NoError(c.t, c.sink.Sync(c.t.Context(), sinktest.NewUpdate(c.node, c.now, next)))
	c.now = next
}

// code is the status that a port answers with, 0 if nobody listens.
func (c *clinic) code(port uint16) int {
	code, _, _ := ask(c.t, port)
	return code
}

// TestServiceHealth follows kube-proxy's test of health checks of Services.
func TestServiceHealth(t *testing.T) {
	for _, row := range []struct {
		id    string
		story func(c *clinic, a, b uint16)
	}{
		{"6.8 service HC HC-11 opened without local endpoints", func(c *clinic, a, _ uint16) {
			c.move(checked("a", a, 0))
			require.Equal(c.t, 503, c.code(a))
		}},
		{"6.8 service HC HC-11 HC-13 the answer in full", func(c *clinic, a, b uint16) {
			c.move(checked("a", a, 0), checked("b", b, 18))
			code, weight, body := ask(c.t, b)
			require.Equal(c.t, 200, code)
			require.Equal(c.t, "18", weight)
			var want serviceBody
			want.Service.Namespace, want.Service.Name, want.LocalEndpoints, want.ServiceProxyHealthy = "ns", "b", 18, true
			require.Equal(c.t, want, body)
			_, weight, _ = ask(c.t, a)
			require.Equal(c.t, "0", weight)
		}},
		{"6.8 service HC HC-11 the proxy is not healthy", func(c *clinic, a, _ uint16) {
			c.move(checked("a", a, 18))
			c.healthy = false
			code, weight, body := ask(c.t, a)
			require.Equal(c.t, 503, code)
			require.Equal(c.t, "18", weight)
			require.False(c.t, body.ServiceProxyHealthy)
			c.healthy = true
			require.Equal(c.t, 200, c.code(a))
		}},
		{"6.8 service HC HC-12 the count follows", func(c *clinic, a, b uint16) {
			c.move(checked("a", a, 0), checked("b", b, 18))
			c.move(checked("a", a, 2), checked("b", b, 0))
			require.Equal(c.t, 200, c.code(a))
			require.Equal(c.t, 503, c.code(b))
		}},
		{"6.8 service HC HC-14 another port", func(c *clinic, a, b uint16) {
			c.move(checked("a", a, 2))
			c.move(checked("a", b, 2))
			require.Zero(c.t, c.code(a))
			require.Equal(c.t, 200, c.code(b))
		}},
		{"6.8 service HC HC-14 the Service goes and comes back", func(c *clinic, a, b uint16) {
			c.move(checked("a", a, 2), checked("b", b, 2))
			c.move(checked("b", b, 2))
			require.Zero(c.t, c.code(a))
			require.Equal(c.t, 200, c.code(b))
			c.move(checked("a", a, 1), checked("b", b, 2))
			require.Equal(c.t, 200, c.code(a))
		}},
		{"HC-14 the policy is Local no more", func(c *clinic, a, _ uint16) {
			c.move(checked("a", a, 2))
			plain := checked("a", a, 2)
			plain.HealthCheck = nil
			c.move(plain)
			require.Zero(c.t, c.code(a))
		}},
		{"HC-14 ports change hands in one update", func(c *clinic, a, b uint16) {
			c.move(checked("a", a, 0), checked("b", b, 2))
			c.move(checked("a", b, 0), checked("b", a, 2))
			require.Equal(c.t, 200, c.code(a))
			require.Equal(c.t, 503, c.code(b))
			require.Empty(c.t, c.log.String())
			require.Empty(c.t, c.sink.NotProgrammed())
		}},
		{"6.8 service HC HC-14 Services that ask for nothing", func(c *clinic, a, _ uint16) {
			plain := checked("a", a, 2)
			plain.HealthCheck = nil
			c.move(plain)
			require.Zero(c.t, c.code(a))
		}},
		{"6.8 service HC HC-10 the addresses change", func(c *clinic, a, _ uint16) {
			c.move(checked("a", a, 2))
			require.Equal(c.t, 200, c.code(a))
			c.node = &localsink.Node{}
			c.move(checked("a", a, 2))
			require.Zero(c.t, c.code(a), "a node without addresses for node ports")
			c.node = &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
			c.move(checked("a", a, 2))
			require.Equal(c.t, 200, c.code(a), "all addresses")
			c.node = &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
			c.move(checked("a", a, 2))
			require.Equal(c.t, 200, c.code(a), "those within a network")
		}},
		{"HC-10 any path and method", func(c *clinic, a, _ uint16) {
			c.move(checked("a", a, 2))
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
		{"HC-15 a port that is taken is told once and tried again", func(c *clinic, a, b uint16) {
			taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b))
			require.NoError(c.t, err)
			c.move(checked("a", a, 2), checked("b", b, 1))
			c.move(checked("a", a, 3), checked("b", b, 1))
			require.Equal(c.t, 1, bytes.Count(c.log.Bytes(), []byte("level=ERROR")), c.log.String())
			require.Len(c.t, c.sink.NotProgrammed(), 1)
			require.ErrorContains(c.t, c.sink.NotProgrammed()[localsink.ServiceName{Namespace: "ns", Name: "b"}], "Service ns/b: spec.healthCheckNodePort")
			require.Equal(c.t, 200, c.code(a), "others go on")
			require.NoError(c.t, taken.Close())
			c.sink.retry.Reset(0)
			<-c.sink.ResyncRequested()
			require.NoError(c.t, c.sink.Sync(c.t.Context(), &localsink.Update{Node: c.node, All: c.now}))
			require.Equal(c.t, 200, c.code(b))
			require.Empty(c.t, c.sink.NotProgrammed())
		}},
		{"HC-15 a port that is taken, and that nobody wants any more", func(c *clinic, a, _ uint16) {
			taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", a))
			require.NoError(c.t, err)
			defer taken.Close()
			c.move(checked("a", a, 1))
			require.Len(c.t, c.sink.NotProgrammed(), 1)
			c.move()
			require.Empty(c.t, c.sink.NotProgrammed())
		}},
		{"HC-14 a port moves to a Service that had another", func(c *clinic, a, b uint16) {
			c.move(checked("a", a, 2), checked("b", b, 1))
			c.move(checked("b", a, 1))
			code, _, body := ask(c.t, a)
			require.Equal(c.t, 200, code)
			require.Equal(c.t, "b", body.Service.Name)
		}},
	} {
		t.Run(row.id, func(t *testing.T) {
			a, b := freePort(t), freePort(t)
			for a == b {
				b = freePort(t)
			}
			row.story(newClinic(t), a, b)
		})
	}
}
