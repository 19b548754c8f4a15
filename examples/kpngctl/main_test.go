// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"flag"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
	"sigs.k8s.io/kpng/examples/internal/cli"
)

// TestUsage: a command line that makes no sense says which word does not, and asks
// nobody.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"":                              "which command?",
		"pods":                          `there is no command "pods"`,
		"state":                         "state takes other arguments",
		"state node-1 web":              `"web" is not NAMESPACE/NAME`,
		"explain node-1 /web":           `"/web" is not NAMESPACE/NAME`,
		"progress":                      "progress takes other arguments",
		"lag now":                       "lag takes other arguments",
		"lag -o yaml":                   "there are table and json",
		"lag -server ,":                 "-server names no server",
		"lag -timeout 0":                "-timeout 0s: there is no time for an answer",
		"lag -colour":                   "flag provided but not defined: -colour",
		"watch node-1 ns/a -server x:1": "watch takes other arguments",
	} {
		err := run(t.Context(), strings.Fields(line), io.Discard, io.Discard)
		require.ErrorIs(t, err, cli.ErrUsage, line)
		require.ErrorContains(t, err, want, line)
	}
	var help strings.Builder
	require.ErrorIs(t, run(t.Context(), []string{"-h"}, io.Discard, &help), flag.ErrHelp)
	for _, word := range []string{"nodes", "state NODE", "watch", "explain", "progress", "lag", "-token-file", "Exit codes"} {
		require.Contains(t, help.String(), word)
	}
}

// TestUnreachable: the error says which server, and that it is the server.
func TestUnreachable(t *testing.T) {
	var stderr strings.Builder
	err := run(t.Context(), []string{"lag", "-server", "unix:///nowhere/a,unix:///nowhere/b"}, io.Discard, &stderr)
	require.ErrorContains(t, err, "the server cannot be reached or is not ready")
	require.Contains(t, stderr.String(), "unix:///nowhere/a")
	require.Contains(t, stderr.String(), "asking the next")
}

// TestHints: the two ways of not agreeing on TLS, with servers that only know one.
func TestHints(t *testing.T) {
	listen := func(options ...grpc.ServerOption) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		s := grpc.NewServer(options...)
		done := make(chan struct{})
		go func() { defer close(done); _ = s.Serve(l) }()
		t.Cleanup(func() { s.Stop(); <-done })
		return l.Addr().String()
	}
	// A server that has no certificate gets as far as the handshake.
	secure := listen(grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})))
	require.ErrorContains(t, run(t.Context(), []string{"lag", "-server", secure}, io.Discard, io.Discard), "then give -ca")
	plain := listen()
	require.ErrorContains(t, run(t.Context(), []string{"lag", "-server", plain, "-server-name", "x"}, io.Discard, io.Discard), "-insecure asks for that")
}

func TestDurations(t *testing.T) {
	for ns, want := range map[uint64]string{
		0: "0", 999: "999ns", 12_345: "12µs", 1_234_567: "1.235ms", 12_345_678: "12ms", 1_234_567_890: "1.235s", 90_400_000_000: "1m30s",
	} {
		require.Equal(t, want, duration(ns))
	}
}

// TestJSONHasAddresses: as people write them, wherever they are, and the rest is protojson.
func TestJSONHasAddresses(t *testing.T) {
	m := &kpng.GetNodeStateResponse{Revision: 1 << 60, Node: &kpng.Node{
		Name: "node-1", Ips: [][]byte{{192, 168, 0, 1}, {15: 1}}, LoopbackNodePorts: [][]byte{{127, 0, 0, 1}},
	}}
	out := func(m proto.Message) string {
		var b strings.Builder
		require.NoError(t, (&ctl{out: &b}).printLine(m))
		return b.String()
	}
	raw, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	require.NoError(t, err)
	want := strings.NewReplacer("wKgAAQ==", "192.168.0.1", "AAAAAAAAAAAAAAAAAAAAAQ==", "::1", "fwAAAQ==", "127.0.0.1").Replace(string(raw))
	require.JSONEq(t, want, out(m))
	require.Contains(t, out(m), `["192.168.0.1","::1"]`)
	require.Less(t, strings.Index(out(m), "ips"), strings.Index(out(m), "revision"), "in the protocol's order")
	require.Contains(t, out(&kpng.Endpoint{Address: []byte{1, 2, 3}}), `"AQID"`, "what is no address stays as it is")
	require.Contains(t, out(&kpng.Endpoint{}), `"address":""`)
	text := &kpng.GetNodeStateResponse{Services: []*kpng.ServiceState{{Text: "Anyone -> <reject> & more"}}}
	require.Contains(t, out(text), "Anyone -> <reject> & more")
}
