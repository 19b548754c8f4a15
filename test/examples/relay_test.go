// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Nodes behind two levels of relays get the same state as nodes of the root server, also
// after a restart of the root server.
func TestNodesBehindRelaysGetSameState(t *testing.T) {
	dir := manifests(t)
	server, address, _ := serve(t, dir)
	startRelay := func(upstream string) (string, func()) {
		address := relay(t, upstream, "--node-cidr").address("Serving gRPC")
		conn := dial(t, address)
		ready(t, conn)
		return address, func() { current(t, conn) }
	}
	first, _ := startRelay(address)
	second, applied := startRelay(first)
	agent := printingAgent(t, "node-2", second)
	agent.stdout.wait(t, `(?m)^\+ shop/web\n`)
	applied()
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		require.Equal(t, state(t, address, node), state(t, second, node))
	}
	server.terminate()
	edit(t, dir, "10.244.1.3", "10.244.1.4")
	_, again, _ := serveAt(t, address, dir)
	agent.stdout.wait(t, `10\.244\.1\.4:53`)
	applied()
	require.Equal(t, state(t, again, "node-2"), state(t, second, "node-2"))
}

// A relay that has lost its upstream server stays ready, and its metrics show the age of its
// state.
func TestRelayStaysReadyWithoutUpstream(t *testing.T) {
	server, address, _ := serve(t, manifests(t))
	p := relay(t, address, "--metrics", "127.0.0.1:0")
	ready(t, dial(t, p.address("Serving gRPC")))
	url := "http://" + p.address("Serving HTTP")
	require.Regexp(t, `(?m)^kpng_relay_upstream_connected 1$`, get(t, url+"/metrics"))
	require.Regexp(t, `(?m)^kpng_relay_upstream_lost_seconds 0$`, get(t, url+"/metrics"))
	server.terminate()
	p.stderr.wait(t, "Server connection failed, retrying; cluster state is kept")
	require.Regexp(t, `(?m)^kpng_relay_upstream_connected 0$`, get(t, url+"/metrics"))
	require.Regexp(t, `(?m)^kpng_relay_upstream_lost_seconds [\d.e-]*[1-9]`, get(t, url+"/metrics"))
	require.Equal(t, "ok\n", get(t, url+"/readyz"))
}
