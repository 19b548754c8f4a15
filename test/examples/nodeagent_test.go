// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/netns"
)

// nodeNamespace returns a network namespace whose loopback interface has the addresses of
// node-1.
func nodeNamespace(t *testing.T) *netns.Namespace {
	ns, err := netns.New()
	if err != nil && os.Getenv("KPNG_REQUIRE_NETNS") == "" {
		t.Skip("network namespace:", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ns.Close()) })
	for _, args := range []string{"link set lo up", "addr add 192.0.2.1/32 dev lo", "addr add 2001:db8::1/128 dev lo nodad"} {
		out, err := ns.Output(t.Context(), "ip", strings.Fields(args)...)
		require.NoError(t, err, out)
	}
	return ns
}

// An agent that programs nftables logs its first state, and serves health, metrics and
// state pages.
func TestAgentServesOperators(t *testing.T) {
	ns := nodeNamespace(t)
	socket := "unix://" + filepath.Join(t.TempDir(), "kpng.sock")
	kpng(t, "run", "--from", "file:testdata/manifests", "--node-cidr", everything(socket)).address("Serving gRPC")
	log := &strings.Builder{}
	agent := exec.Command(program, "run", "--from", "node:"+socket, "--node", "node-1", "--to", "nftables,conntrack,healthcheck",
		"--health", "127.0.0.1:10256", "--metrics", "127.0.0.1:10249", "--count-connections", "services")
	agent.Stderr = log
	require.NoError(t, ns.Start(agent))
	defer func() {
		require.NoError(t, agent.Process.Signal(os.Interrupt))
		require.NoError(t, agent.Wait(), log.String())
		require.Regexp(t, `msg="Applied first state" node=node-1 services=\d+`, log.String())
	}()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return ns.DialContext(ctx, net.Dialer{}, network, address)
		},
	}}
	for url, want := range map[string]string{
		"http://127.0.0.1:10256/healthz":           "",
		"http://127.0.0.1:10249/metrics":           "\nkpng_services_not_programmed 0\n",
		"http://127.0.0.1:10249/state":             "shop/web",
		"http://127.0.0.1:10249/state/shop/web":    "ClusterIP 10.96.0.10:80",
		"http://127.0.0.1:10249/healthz":           "ok",
		"http://127.0.0.1:10249/metrics?":          `kpng_frontend_new_connections_total{frontend="10.96.0.10:80",kind="ClusterIP",namespace="shop",`,
		"http://127.0.0.1:10249/state/shop/web?":   "# new connections\nClusterIP 10.96.0.10:80/TCP: 0\n",
		"http://127.0.0.1:10256/livez":             "",
		"http://127.0.0.1:10249/state?output=json": `"node":"node-1"`,
	} {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			resp, err := client.Get(url)
			require.NoError(c, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(c, err)
			require.Equal(c, 200, resp.StatusCode, url)
			require.Contains(c, string(body), want, url)
		}, timeout, timeout/1000)
	}
}
