// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/nodeproxy/httpserver"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

// A fakeTakeover calls run.
type fakeTakeover struct{ run func(ctx context.Context) }

func (f fakeTakeover) Run(ctx context.Context) { f.run(ctx) }
func (fakeTakeover) Failures() uint64          { return 42 }

// TestTakeoverWaitsForTheRules checks that Takeover is called once, after the first update
// that was applied, and that it does not delay later updates.
func TestTakeoverWaitsForTheRules(t *testing.T) {
	fail := errors.New("injected")
	called := make(chan struct{})
	p, err := New(Config{
		Rules:    localsink.Func(func(context.Context, *localsink.Update) error { return fail }),
		Takeover: fakeTakeover{func(ctx context.Context) { close(called); <-ctx.Done() }},
		Limiter:  httpserver.NewLimiter(httpserver.LimiterConfig{}),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- p.RunTakeover(ctx) }()

	d := sinktest.Driver{Sink: p, Node: &localsink.Node{Name: "node-1"}}
	require.Error(t, d.Sync(t.Context(), sinktest.NewState()))
	select {
	case <-p.synced:
		t.Fatal("the rules are not in place")
	case <-called:
		t.Fatal("the rules are not in place")
	default:
	}
	fail = nil
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()))
	<-called
	require.NoError(t, d.Sync(t.Context(), sinktest.NewState()), "while Takeover runs")
	require.Equal(t, uint64(42), p.takeoverFailures())
	cancel()
	require.NoError(t, <-ended)
}

func TestPipelineWithoutTakeover(t *testing.T) {
	p := &Pipeline{}
	require.NoError(t, p.RunTakeover(t.Context()))

	p = &Pipeline{cfg: Config{Takeover: fakeTakeover{func(context.Context) { t.Error("called without an update") }}}, synced: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, p.RunTakeover(ctx))
}

// A countingSink is a sink that counts connections, or not.
type countingSink struct {
	localsink.Sink
	counts bool
}

func (s countingSink) CountsConnections() bool { return s.counts }

func (countingSink) FrontendConnections(context.Context, localsink.ServiceName) ([]localsink.FrontendConnections, error) {
	return []localsink.FrontendConnections{{Addr: netip.MustParseAddrPort("10.96.0.1:80"), Protocol: localsink.ProtocolTCP, Kind: localsink.KindClusterIP, Count: 7}}, nil
}

func (countingSink) EndpointConnections(context.Context, localsink.ServiceName) ([]localsink.EndpointConnections, error) {
	return []localsink.EndpointConnections{
		{Frontend: netip.MustParseAddrPort("10.96.0.1:80"), Endpoint: netip.MustParseAddrPort("10.1.0.1:80"), Protocol: localsink.ProtocolTCP, Count: 4},
		{Port: "dns", Endpoint: netip.MustParseAddrPort("10.1.0.1:53"), Protocol: localsink.ProtocolUDP, Count: 3},
	}, nil
}

// TestConnectionsAreCounted checks which collectors and pages have the counts of the backend.
func TestConnectionsAreCounted(t *testing.T) {
	rules := localsink.Func(func(context.Context, *localsink.Update) error { return nil })
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: "web"}}
	for _, c := range []struct {
		rules  localsink.Sink
		count  string
		err    string
		series int // of /metrics
		page   string
	}{
		{rules, "", "", 0, ""},
		{rules, "services", "pipeline: CountConnections: Rules do not count connections", 0, ""},
		{countingSink{rules, false}, "endpoints", "pipeline: CountConnections: Rules do not count connections", 0, ""},
		{countingSink{rules, true}, "all", `pipeline: CountConnections: "all" is not services or endpoints`, 0, ""},
		{countingSink{rules, true}, "", "", 0, "# new connections\nClusterIP 10.96.0.1:80/TCP: 7\n"},
		{countingSink{rules, true}, "services", "", 1, "  10.96.0.1:80/TCP -> 10.1.0.1:80: 4\n"},
		{countingSink{rules, true}, "endpoints", "", 3, "  port \"dns\"/UDP -> 10.1.0.1:53: 3\n"},
	} {
		p, err := New(Config{Rules: c.rules, CountConnections: c.count, Limiter: httpserver.NewLimiter(httpserver.LimiterConfig{})})
		if c.err != "" {
			require.EqualError(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		get := func(h http.Handler, path string) string {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			return w.Body.String()
		}
		h, err := metrics.Handler(p.Collectors()...)
		require.NoError(t, err)
		require.NotContains(t, get(h, "/metrics"), "_new_connections_total{", "nothing is programmed")
		d := sinktest.Driver{Sink: p, Node: &localsink.Node{Name: "node-1"}}
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(web)))
		require.Equal(t, c.series, strings.Count(get(h, "/metrics"), "_new_connections_total{"))
		page := get(p.StateHandler(), "/state/ns/web")
		require.Contains(t, page, c.page)
		require.Equal(t, c.page != "", strings.Contains(page, "# new connections"))
		require.NotContains(t, get(p.StateHandler(), "/state"), "connections")
		require.NoError(t, p.Close())
	}
}

// TestRequiredFields checks that the error names the field.
func TestRequiredFields(t *testing.T) {
	_, err := New(Config{Limiter: httpserver.NewLimiter(httpserver.LimiterConfig{})})
	require.EqualError(t, err, "pipeline: Rules: required")
	_, err = New(Config{Rules: localsink.Tee()})
	require.EqualError(t, err, "pipeline: Limiter: required")
}

// TestLoopbackListeners checks that node ports on loopback addresses are served unless that is
// left to Rules.
func TestLoopbackListeners(t *testing.T) {
	for _, none := range []bool{false, true} {
		p, err := New(Config{
			Rules:               localsink.Func(func(context.Context, *localsink.Update) error { return nil }),
			NoLoopbackListeners: none, Limiter: httpserver.NewLimiter(httpserver.LimiterConfig{}),
		})
		require.NoError(t, err)
		port := freePort(t)
		d := sinktest.Driver{Sink: p, Node: &localsink.Node{Name: "node-1", LoopbackNodePorts: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}}
		require.NoError(t, d.Sync(t.Context(), sinktest.NewState(nodePortService(port))))
		_, err = metrics.Handler(p.Collectors()...)
		require.NoError(t, err)
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		// A listener resets connections without an endpoint, maybe before Dial has returned.
		require.Equal(t, none, errors.Is(err, syscall.ECONNREFUSED), "no listeners: %t, dial: %v", none, err)
		if err == nil {
			require.NoError(t, c.Close())
		}
		require.NoError(t, p.Close())
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return netip.MustParseAddrPort(l.Addr().String()).Port()
}

func nodePortService(port uint16) *localsink.Service {
	return &localsink.Service{Name: localsink.ServiceName{Namespace: "ns", Name: "web"}, Ports: []localsink.Port{{
		Protocol: localsink.ProtocolTCP,
		Frontends: []localsink.Frontend{{
			Kind: localsink.KindNodePort, Addr: netip.AddrPortFrom(netip.IPv4Unspecified(), port),
			Routes: []localsink.Route{{}},
		}},
		Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort("192.0.2.1:80"), Weight: 1}}}},
	}}}
}
