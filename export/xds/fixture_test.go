// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcxds "google.golang.org/grpc/xds"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
	"sigs.k8s.io/kpng/remote/transport"
)

// timeout is how long a test waits for what must happen.
const timeout = 30 * time.Second

const webName = "web.default.svc.cluster.local:80"

// A fixture is a sink that is served on a loopback address.
type fixture struct {
	t       testing.TB
	sink    *xds.Sink
	address string
	driver  sinktest.Driver
}

// newFixture starts a server, which runs until the test ends.
func newFixture(t testing.TB, cfg xds.Config) *fixture {
	sink, err := xds.New(cfg)
	require.NoError(t, err)
	f := &fixture{t: t, sink: sink, driver: sinktest.Driver{Sink: sink, Node: &localsink.Node{
		Name: "node-1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
	}}}
	f.address = serve(t, sink)
	return f
}

// serve serves a sink until the test ends, and returns its address.
func serve(t testing.TB, sink *xds.Sink) string {
	listener, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.ListenConfig{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sink.Serve(ctx, listener, serveConfig()) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return listener.Addr().String()
}

// serveConfig permits all clients of this machine.
func serveConfig() xds.ServeConfig {
	return xds.ServeConfig{NodeName: "node-1", Guard: transport.Guard{
		Authenticate: transport.AnonymousAuthenticator(""),
		Authorize:    func(context.Context, transport.Identity, transport.Access) error { return nil },
	}}
}

// set makes the given Services the state.
func (f *fixture) set(services ...*localsink.Service) {
	require.NoError(f.t, f.driver.Sync(f.t.Context(), sinktest.NewState(services...)))
}

// service returns the Service default/NAME with one port and one pool.
func service(name string, endpoints ...localsink.Endpoint) *localsink.Service {
	slices.SortFunc(endpoints, func(a, b localsink.Endpoint) int { return a.Addr.Compare(b.Addr) })
	return &localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: name},
		Ports: []localsink.Port{{
			Name: "grpc", Protocol: localsink.ProtocolTCP, Pools: []localsink.Pool{{Endpoints: endpoints}},
			Frontends: []localsink.Frontend{{
				Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}},
			}},
		}},
	}
}

// endpoint returns an endpoint with a weight.
func endpoint(address netip.AddrPort, weight uint32) localsink.Endpoint {
	return localsink.Endpoint{Addr: address, Weight: weight}
}

// A backend is a gRPC server whose responses have its address in their header.
type backend struct {
	healthpb.UnimplementedHealthServer

	addr    netip.AddrPort
	calls   atomic.Int64
	entered chan struct{} // receives when a Watch begins
	finish  chan struct{} // ends a Watch
}

func (b *backend) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	b.calls.Add(1)
	_ = grpc.SetHeader(ctx, metadata.Pairs("backend", b.addr.String()))
	return &healthpb.HealthCheckResponse{}, nil
}

// Watch sends a response when finish receives, and ends.
func (b *backend) Watch(_ *healthpb.HealthCheckRequest, s grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	b.entered <- struct{}{}
	select {
	case <-b.finish:
		return s.Send(&healthpb.HealthCheckResponse{})
	case <-s.Context().Done():
		return nil
	}
}

// newBackend starts a backend, which runs until the test ends or stop is called.
func newBackend(t testing.TB) (b *backend, stop func()) { return newBackendAt(t, "127.0.0.1") }

// newBackendAt starts a backend at an address of this machine.
func newBackendAt(t testing.TB, host string) (b *backend, stop func()) {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	b = &backend{addr: netip.MustParseAddrPort(listener.Addr().String()), entered: make(chan struct{}, 1), finish: make(chan struct{})}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, b)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	stop = func() {
		server.Stop()
		served <- <-served // wait, and leave the result for the next call
	}
	t.Cleanup(stop)
	return b, stop
}

// newBackends starts backends.
func newBackends(t testing.TB, n int) []*backend {
	all := make([]*backend, n)
	for i := range all {
		all[i], _ = newBackend(t)
	}
	return all
}

// dial returns a client of xds:///NAME whose only configuration is the address of the server.
func (f *fixture) dial(name string) healthpb.HealthClient {
	bootstrap := fmt.Sprintf(`{"xds_servers":[{"server_uri":%q,"channel_creds":[{"type":"insecure"}]}],"node":{"id":"client-1"}}`, f.address)
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting([]byte(bootstrap))
	require.NoError(f.t, err)
	conn, err := grpc.NewClient("xds:///"+name, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(f.t, err)
	f.t.Cleanup(func() { require.NoError(f.t, conn.Close()) })
	return healthpb.NewHealthClient(conn)
}

// call returns the address of the backend that serves a call.
func call(ctx context.Context, c healthpb.HealthClient) (string, error) {
	var header metadata.MD
	_, err := c.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Header(&header), grpc.WaitForReady(true))
	if err != nil {
		return "", err
	}
	return header.Get("backend")[0], nil
}

// mustCall is call without errors.
func (f *fixture) mustCall(c healthpb.HealthClient) string {
	ctx, cancel := context.WithTimeout(f.t.Context(), timeout)
	defer cancel()
	b, err := call(ctx, c)
	require.NoError(f.t, err)
	return b
}

// TestMain runs the tests, or, in another process of a benchmark, its clients.
func TestMain(m *testing.M) {
	if arguments := os.Getenv(asClients); arguments != "" {
		os.Exit(clients(arguments))
	}
	goleak.VerifyTestMain(m)
}

// logger returns a logger of the output of a test.
func logger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}
