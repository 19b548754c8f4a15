// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xdscli_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	grpcxds "google.golang.org/grpc/xds"

	"sigs.k8s.io/kpng/export/xds/xdscli"
	"sigs.k8s.io/kpng/nodeproxy/cli"
	"sigs.k8s.io/kpng/nodeproxy/command"
)

const timeout = 30 * time.Second

const manifests = `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: %d}]
endpoints: [{addresses: [%s]}]
`

// run runs a command line of kpng with the sink.
func run(ctx context.Context, args ...string) error {
	return cli.Standard().With(xdscli.Sink()).Run(ctx, append([]string{"kpng", "run", "--node", "node-1"}, args...), io.Discard, io.Discard)
}

// backend starts a gRPC server and returns its address. An endpoint cannot have a loopback address.
func backend(t *testing.T) *net.TCPAddr {
	addrs, err := net.InterfaceAddrs()
	require.NoError(t, err)
	host := slices.IndexFunc(addrs, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil
	})
	if host < 0 {
		t.Skip("this machine has no address that is not a loopback address")
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(addrs[host].(*net.IPNet).IP.String(), "0"))
	require.NoError(t, err)
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-served)
	})
	return listener.Addr().(*net.TCPAddr)
}

// TestFilesReachAClient serves manifests on a Unix socket, as a node does for its pods, and calls the
// Service by its name.
func TestFilesReachAClient(t *testing.T) {
	dir, err := os.MkdirTemp("", "xds") //nolint:usetesting // the path of a socket is short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Mkdir(filepath.Join(dir, "m"), 0o700))
	b := backend(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "m", "web.yaml"), fmt.Appendf(nil, manifests, b.Port, b.IP), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, "--from", "file:"+filepath.Join(dir, "m"), "--to", "xds:unix://"+dir+"/s?domain=example.org&prefer-local")
	}()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, "s"))
		return err == nil
	}, timeout, timeout/1000)
	resolver, err := grpcxds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers":[{"server_uri":"unix://%s/s","channel_creds":[{"type":"insecure"}]}],"node":{"id":"client-1"}}`, dir))
	require.NoError(t, err)
	conn, err := grpc.NewClient("xds:///web.default.svc.example.org:80", grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	cancel()
	require.NoError(t, <-ended)
}

func TestInvalidArguments(t *testing.T) {
	for to, want := range map[string]string{
		"xds":                            "want xds:ADDR",
		"xds:127.0.0.1:0?colour=red":     `option "colour" with value "red": want domain=NAME or prefer-local`,
		"xds:127.0.0.1:0?prefer-local=x": `option "prefer-local" with value "x"`,
		"xds:127.0.0.1:0?domain=a_b":     `xds: ClusterDomain "a_b"`,
		"xds:127.0.0.1:0?%zz":            `options "%zz"`,
		"xds:0.0.0.0:0":                  "0.0.0.0:0",
	} {
		err := run(t.Context(), "--from", "file:"+t.TempDir(), "--to", to)
		require.ErrorContains(t, err, want)
		if !strings.Contains(to, "0.0.0.0:0") {
			require.ErrorIs(t, err, command.ErrUsage, to)
		}
	}
	require.ErrorContains(t, run(t.Context(), "--from", "file:"+t.TempDir(), "--to", "xds:0.0.0.0:0"), "give --cert and --key")
	require.ErrorIs(t, run(t.Context(), "--from", "file:"+t.TempDir(), "--to", "xds:127.0.0.1:0", "--cert", "x"), command.ErrUsage)
}

func TestMetrics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	collectors := make(chan []prometheus.Collector, 1)
	sink := xdscli.Sink()
	create := sink.Node
	sink.Node = func(ctx context.Context, env *cli.Env, argument string) (cli.NodeSink, error) {
		s, err := create(ctx, env, argument)
		collectors <- s.Collectors
		return s, err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cli.Standard().With(sink).Run(ctx, []string{"kpng", "run", "--node", "node-1", "--from", "file:../../../testdata/example", "--to", "xds:127.0.0.1:0"},
			io.Discard, io.Discard)
	}()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister((<-collectors)...)
	require.Eventually(t, func() bool {
		return testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP kpng_xds_names Number of names of Service ports that are served.
# TYPE kpng_xds_names gauge
kpng_xds_names 1
# HELP kpng_xds_rejections_total Responses that a client has rejected, by type of resource.
# TYPE kpng_xds_rejections_total counter
kpng_xds_rejections_total{type="Cluster"} 0
kpng_xds_rejections_total{type="ClusterLoadAssignment"} 0
kpng_xds_rejections_total{type="Listener"} 0
kpng_xds_rejections_total{type="RouteConfiguration"} 0
`), "kpng_xds_names", "kpng_xds_rejections_total") == nil
	}, timeout, timeout/1000)
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	cancel()
	require.NoError(t, <-ended)
}
