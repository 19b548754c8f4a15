// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRelay: nodes behind relays of relays are told what nodes of the server are, also
// after the server has been away.
func TestRelay(t *testing.T) {
	dir := manifests(t)
	server, address, _ := serve(t, dir)
	below := func(upstream string) (string, func()) {
		p := start(t, "relay", "-upstream", upstream, "-node-cidr", "-listen", "127.0.0.1:0")
		at := p.address("Serving")
		conn := dial(t, at)
		ready(t, conn)
		return at, func() { current(t, conn, 1) }
	}
	first, _ := below(address)
	second, applied := below(first)
	agent := start(t, "node-agent", "-backend", "print", "-node", "node-2", "-server", second)
	agent.stdout.wait(t, `(?m)^\+ shop/web\n`)
	applied()
	for _, node := range []string{"node-1", "node-2", "node-3"} {
		require.Equal(t, state(t, address, node), state(t, second, node))
	}
	server.terminate()
	edit(t, dir, "10.244.1.3", "10.244.1.4")
	_, again, _ := serve(t, dir, "-listen", address)
	agent.stdout.wait(t, `10\.244\.1\.4:53`)
	applied()
	require.Equal(t, state(t, again, "node-2"), state(t, second, "node-2"))
}

// TestRelayWithoutUpstream: it stays ready with what it knows, and says that this ages.
func TestRelayWithoutUpstream(t *testing.T) {
	server, address, _ := serve(t, manifests(t))
	relay := start(t, "relay", "-upstream", address, "-listen", "127.0.0.1:0", "-metrics", "127.0.0.1:0")
	ready(t, dial(t, relay.address("Serving")))
	at := "http://" + relay.address("Serving HTTP")
	require.Regexp(t, `(?m)^kpng_relay_upstream_connected 1$`, get(t, at+"/metrics"))
	require.Regexp(t, `(?m)^kpng_relay_upstream_lost_seconds 0$`, get(t, at+"/metrics"))
	server.terminate()
	relay.stderr.wait(t, "Not heard from the server, will try again; facts stay as they are")
	require.Regexp(t, `(?m)^kpng_relay_upstream_connected 0$`, get(t, at+"/metrics"))
	require.Regexp(t, `(?m)^kpng_relay_upstream_lost_seconds [\d.e-]*[1-9]`, get(t, at+"/metrics"))
	require.Equal(t, "ok\n", get(t, at+"/readyz"))
}
