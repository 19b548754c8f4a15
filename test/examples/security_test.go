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
	server := start(t, "state-server", slices.Concat(
		[]string{"-manifests", "testdata/manifests", "-listen", "127.0.0.1:0", "-client-ca", authority.ca(), "-inspectors", "group:admins"},
		authority.issue("server", "state-server"))...)
	to := []string{"-server", server.address("Serving gRPC"), "-ca", authority.ca()}
	node := authority.issue("node-1", "system:node:node-1", "system:nodes")
	admin := authority.issue("admin", "alice", "admins")

	agent := start(t, "node-agent", slices.Concat([]string{"-backend", "print", "-node", "node-1"}, to, node)...)
	agent.stdout.wait(t, `(?m)^\+ shop/web\n`)
	other := start(t, "node-agent", slices.Concat([]string{"-backend", "print", "-node", "node-2"}, to, node)...)
	other.stderr.wait(t, "PermissionDenied")
	require.Empty(t, other.stdout.text())
	server.stderr.wait(t, `level=WARN msg="Peer rejected" peer=\S+ identity=system:node:node-1 operation=\S+WatchNode err=.*is not permitted to watch-node`)

	nodes := func(flags ...string) (string, string, int) {
		return kpngctl(t, slices.Concat([]string{"nodes"}, to, flags)...)
	}
	out, stderr, code := nodes(admin...)
	require.Zero(t, code, stderr)
	require.Regexp(t, `(?m)^node-1 +zone-a +yes`, out)
	_, stderr, code = nodes(node...)
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "kpngctl: not allowed: ")
	_, stderr, code = nodes()
	require.Equal(t, 1, code)
	server.stderr.wait(t, `level=WARN msg="Peer rejected" .* operation=handshake err=.*certificate`)
	require.Contains(t, stderr, "kpngctl: the server cannot be reached or is not ready: ")
	require.Contains(t, stderr, "-cert and -key")
	_, stderr, code = kpngctl(t, slices.Concat([]string{"nodes", "-server", to[1]}, admin)...) // without a CA
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "(set -ca to the CA of the server certificate)")
	_, stderr, code = kpngctl(t, "nodes", "-server", to[1]) // in plaintext
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "if the server uses TLS, set -ca")
}

// A server without TLS refuses to listen on the network unless -insecure is set.
func TestPlaintextRequiresFlag(t *testing.T) {
	refused := start(t, "state-server", "-manifests", "testdata/manifests", "-listen", "0.0.0.0:0")
	require.Error(t, <-refused.done)
	refused.done = nil
	require.Contains(t, refused.stderr.text(), "is reachable from the network and TLS is not configured: give -cert and -key, listen on a loopback address or a Unix socket, or give -insecure")

	open := start(t, "state-server", "-manifests", "testdata/manifests", "-listen", "0.0.0.0:0", "-insecure")
	open.address("Serving gRPC")
	open.terminate()
}
