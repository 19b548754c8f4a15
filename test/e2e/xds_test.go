// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"sigs.k8s.io/kpng/test/cluster"
	"sigs.k8s.io/kpng/test/netns"
)

// xdsChanges is the number of endpoint changes of TestXDSReachesNewEndpoint.
const xdsChanges = 200

// A served is what the client of export/xds prints: the server that answers from then on.
type served struct {
	server netip.AddrPort
	at     time.Time
}

// TestXDSReachesNewEndpoint measures the time from the write of EndpointSlices to the API server until a
// call of a grpc-go client is answered by their endpoint.
func TestXDSReachesNewEndpoint(t *testing.T) {
	fx := newFixture(t)
	dir := t.TempDir()
	socket := "unix://" + filepath.Join(dir, "s")
	proxy, client := buildXDS(t, dir, "./kpng"), buildXDS(t, dir, "./testdata/client")
	process, err := fx.Node.Namespace.Run(netns.Program{Name: "kpng-xds", Path: proxy, Dir: fx.dir, Args: []string{
		"run", "--node", cluster.NodeName, "--kubeconfig", fx.kubeconfig, "--from", "kube", "--to", "xds:" + socket,
	}})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of kpng:\n%s", process.Tail(40))
		}
		require.NoError(t, process.Kill())
	})
	for _, pod := range []string{"pod1", "pod2"} {
		serveHealth(t, fx.Places[pod].Namespace)
	}
	at := func(pod string) []service {
		return []service{{name: "called", ports: []string{"p:80/tcp"}, slices: []slice{{ports: []string{"p:9090/tcp"}, endpoints: []string{pod}}}}}
	}
	current := at("pod1")
	fx.apply(t, nil, current)
	calls := runXDSClient(t, fx, client, socket, "called."+namespace+".svc.cluster.local:80")
	await := func(pod string) time.Time {
		timeout := time.After(syncLimit)
		for {
			select {
			case s := <-calls:
				if fx.Places[pod].Has(s.server.Addr().Unmap()) {
					return s.at
				}
			case <-timeout:
				require.FailNow(t, "no call is answered by "+pod)
			}
		}
	}
	await("pod1")
	var all []time.Duration
	for i := range xdsChanges {
		pod := []string{"pod2", "pod1"}[i%2]
		next := at(pod)
		begin := time.Now()
		fx.apply(t, current, next)
		current = next
		all = append(all, await(pod).Sub(begin))
	}
	slices.Sort(all)
	t.Logf("from the begin of the write to a call at the new endpoint: p50 %v, p99 %v", all[len(all)/2], all[len(all)*99/100])
}

// buildXDS builds a program of the module export/xds, which the module of the tests does not require.
func buildXDS(t *testing.T, dir, pkg string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(pkg))
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, pkg)
	cmd.Dir, cmd.Env = "../../export/xds", append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

// serveHealth serves gRPC health checks on port 9090 of a namespace.
func serveHealth(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	listener, err := ns.Listen(t.Context(), "tcp", ":9090")
	require.NoError(t, err)
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		require.NoError(t, <-ended)
	})
}

// runXDSClient runs the client on the node, and returns what it prints.
func runXDSClient(t *testing.T, fx *fixture, path, server, name string) <-chan served {
	t.Helper()
	bootstrap := filepath.Join(t.TempDir(), "bootstrap.json")
	require.NoError(t, os.WriteFile(bootstrap, fmt.Appendf(nil,
		`{"xds_servers":[{"server_uri":%q,"channel_creds":[{"type":"insecure"}]}],"node":{"id":"e2e"}}`, server), 0o600))
	cmd := exec.CommandContext(t.Context(), path, "xds:///"+name)
	cmd.Env = append(os.Environ(), "GRPC_XDS_BOOTSTRAP="+bootstrap)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, fx.Node.Namespace.Start(cmd))
	calls, ended := make(chan served, 2*xdsChanges), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var text string
			var nanoseconds int64
			if n, _ := fmt.Sscan(lines.Text(), &text, &nanoseconds); n != 2 {
				continue
			}
			if addr, err := netip.ParseAddrPort(text); err == nil {
				calls <- served{addr, time.Unix(0, nanoseconds)}
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	return calls
}
