// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

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

// A servicesFixture has listeners on 127.0.0.1. It drives Services, or a Server without a
// sink.
type servicesFixture struct {
	t       *testing.T
	server  *Server
	sink    *Services // nil without a sink
	current localsink.State
	node    *localsink.Node
	healthy bool
	log     bytes.Buffer
}

func newServicesFixture(t *testing.T, withSink bool) *servicesFixture {
	c := &servicesFixture{t: t, node: loopback(), healthy: true}
	cfg := Config{
		Healthy: func() bool { return c.healthy },
		Logger:  slog.New(slog.NewTextHandler(&c.log, nil)),
	}
	var err error
	if withSink {
		c.sink, err = NewServices(cfg)
		require.NoError(t, err)
		c.server = c.sink.server
	} else {
		c.server, err = NewServer(c.node.NodePortAddresses, cfg)
		require.NoError(t, err)
	}
	t.Cleanup(func() { goleak.VerifyNone(t) })
	t.Cleanup(func() { require.NoError(t, c.server.Close()) })
	return c
}

func (c *servicesFixture) sync(services ...*localsink.Service) {
	next := sinktest.NewState(services...)
	u := sinktest.NewUpdate(c.node, c.current, next)
	c.current = next
	if c.sink != nil {
		require.NoError(c.t, c.sink.Sync(c.t.Context(), u))
		return
	}
	require.NoError(c.t, c.server.SetNetworks(c.t.Context(), c.node.NodePortAddresses))
	for _, svc := range u.Removed {
		c.server.Remove(c.t.Context(), svc.Name)
	}
	for _, svc := range u.Changed {
		if svc.HealthCheck == nil {
			c.server.Remove(c.t.Context(), svc.Name)
		} else {
			_ = c.server.Set(c.t.Context(), svc.Name, svc.HealthCheck.Port, svc.HealthCheck.LocalEndpoints)
		}
	}
}

// retry tries to open failed ports, as it happens when the retry timer expires.
func (c *servicesFixture) retry() {
	c.server.retryTimer.Reset(0)
	<-c.server.due
	if c.sink != nil {
		require.NoError(c.t, c.sink.Sync(c.t.Context(), &localsink.Update{Node: c.node, All: c.current}))
		return
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	listen := c.server.cfg.Listen
	c.server.cfg.Listen = func(_ context.Context, network, address string) (net.Listener, error) {
		cancel() // Run ends after this retry
		return listen(c.t.Context(), network, address)
	}
	c.server.requestRetry()
	for ctx.Err() == nil {
		require.NoError(c.t, c.server.Run(ctx))
	}
	c.server.cfg.Listen = listen
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
// checks, each with new Services and with a new Server.
func runServiceRows(t *testing.T, rows []serviceRow) {
	for _, row := range rows {
		t.Run(row.id, func(t *testing.T) {
			for name, withSink := range map[string]bool{"sink": true, "server": false} {
				t.Run(name, func(t *testing.T) {
					a, b := freePort(t), freePort(t)
					for a == b {
						b = freePort(t)
					}
					row.run(newServicesFixture(t, withSink), a, b)
				})
			}
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
			if c.sink != nil {
				require.Empty(c.t, c.log.String(), "a sink closes all ports before it opens any")
			}
			require.Empty(c.t, c.server.Failures())
		}},
		{"6.8 service HC HC-14 Service without health check", func(c *servicesFixture, a, _ uint16) {
			plain := newService("a", a, 2)
			plain.HealthCheck = nil
			c.sync(plain)
			require.Zero(c.t, c.code(a))
		}},
		{"HC-11 a node that is being deleted", func(c *servicesFixture, a, _ uint16) {
			c.node.Deleting = true
			c.sync(newService("a", a, 2))
			require.Equal(c.t, 200, c.code(a), "only /healthz considers the node")
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
			require.Len(c.t, c.server.Failures(), 1)
			require.ErrorContains(c.t, c.server.Failures()[localsink.ServiceName{Namespace: "ns", Name: "b"}], "Service ns/b: spec.healthCheckNodePort")
			require.Equal(c.t, 200, c.code(a), "other Services still answer")
			require.NoError(c.t, taken.Close())
			c.retry()
			require.Equal(c.t, 200, c.code(b))
			require.Empty(c.t, c.server.Failures())
		}},
		{"HC-15 removing the Service clears the failure", func(c *servicesFixture, a, _ uint16) {
			taken, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", a))
			require.NoError(c.t, err)
			defer taken.Close()
			c.sync(newService("a", a, 1))
			require.Len(c.t, c.server.Failures(), 1)
			c.sync()
			require.Empty(c.t, c.server.Failures())
		}},
	})
}
