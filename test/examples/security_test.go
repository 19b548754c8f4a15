// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package examples

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// With client certificates, a node may watch only itself, and only inspectors may inspect.
func TestCertificatesAuthorize(t *testing.T) {
	authority := newAuthority(t)
	server := kpng(t, slices.Concat(
		[]string{"run", "--from", "file:testdata/manifests", everything(anyPort), "--client-ca", authority.ca(), "--inspectors", "group:admins"},
		authority.issue("server", "state-server").flags(""))...)
	address := server.address("Serving gRPC")
	node := authority.issue("node-1", "system:node:node-1", "system:nodes")
	admin := authority.issue("admin", "alice", "admins")

	agentFlags := append(node.flags("upstream-"), "--upstream-ca", authority.ca())
	agent := printingAgent(t, "node-1", address, agentFlags...)
	agent.stdout.wait(t, `(?m)^\+ shop/web\n`)
	other := printingAgent(t, "node-2", address, agentFlags...)
	other.stderr.wait(t, "PermissionDenied")
	require.Empty(t, other.stdout.text())
	server.stderr.wait(t, `level=WARN msg="Peer rejected" peer=\S+ identity=system:node:node-1 operation=\S+WatchNode err=.*is not permitted to watch-node`)

	nodes := func(flags ...string) (string, string, int) {
		return ask(t, append([]string{"nodes", "--server", address, "--ca", authority.ca()}, flags...)...)
	}
	out, stderr, code := nodes(admin.flags("")...)
	require.Zero(t, code, stderr)
	require.Regexp(t, `(?m)^node-1 +zone-a +yes`, out)
	_, stderr, code = nodes(node.flags("")...)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "kpng: not allowed: ")
	_, stderr, code = nodes()
	require.Equal(t, 1, code)
	server.stderr.wait(t, `level=WARN msg="Peer rejected" .* operation=handshake err=.*certificate`)
	require.Contains(t, stderr, "kpng: the server cannot be reached or is not ready: ")
	require.Contains(t, stderr, "--cert and --key")
	_, stderr, code = ask(t, append([]string{"nodes", "--server", address}, admin.flags("")...)...) // without a CA
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "(set --ca to the CA of the server certificate)")
	_, stderr, code = ask(t, "nodes", "--server", address) // in plaintext
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "if the server uses TLS, set --ca")
}

// A server without TLS refuses to listen on the network unless --insecure is set.
func TestPlaintextRequiresFlag(t *testing.T) {
	refused := kpng(t, "run", "--from", "file:testdata/manifests", everything("0.0.0.0:0"))
	require.Error(t, <-refused.done)
	refused.done = nil
	require.Contains(t, refused.stderr.text(), "is reachable from the network and TLS is not configured: give --cert and --key, listen on a loopback address or a Unix socket, or give --insecure")

	open := kpng(t, "run", "--from", "file:testdata/manifests", everything("0.0.0.0:0"), "--insecure")
	open.address("Serving gRPC")
	open.terminate()
}
