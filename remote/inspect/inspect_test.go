// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	kpng "sigs.k8s.io/kpng/api/kpng/v1alpha1"
)

func TestInvalidCommands(t *testing.T) {
	for line, want := range map[string]string{
		"":                    "ctl COMMAND; ctl -h lists the commands",
		"pods":                `unknown command "pods"; ctl -h lists the commands`,
		"state":               "ctl state NODE [NAMESPACE/NAME]",
		"state node-1 web":    `"web" is not NAMESPACE/NAME`,
		"state node-1 web a":  "ctl state NODE [NAMESPACE/NAME]",
		"explain node-1 /web": `"/web" is not NAMESPACE/NAME`,
		"explain node-1":      "ctl explain NODE NAMESPACE/NAME",
		"progress":            "ctl progress NAMESPACE/NAME",
		"progress web":        `"web" is not NAMESPACE/NAME`,
		"progress x:web":      `"x:web" is not NAMESPACE/NAME`,
		"lag now":             "ctl lag",
		"watch node-1 ns/a":   "ctl watch NODE",
	} {
		_, err := Parse("ctl", strings.Fields(line))
		require.EqualError(t, err, want, line)
	}
}

func TestOnlyWatchIsEndless(t *testing.T) {
	for line, endless := range map[string]bool{"nodes": false, "state n ns/a": false, "watch n": true, "progress ns/a": false, "lag": false} {
		c, err := Parse("ctl", strings.Fields(line))
		require.NoError(t, err)
		require.Equal(t, endless, c.Endless(), line)
	}
}

// A fakeServer answers like a server whose node is unknown.
type fakeServer struct {
	kpng.UnimplementedInspectServiceServer
}

func (fakeServer) ListNodes(_ context.Context, r *kpng.ListNodesRequest) (*kpng.ListNodesResponse, error) {
	if r.GetPrefix() == "none" {
		return &kpng.ListNodesResponse{}, nil
	}
	return &kpng.ListNodesResponse{Nodes: []*kpng.NodeStatus{{Name: "node-1", Connected: true, SentRevision: 7, LagNs: 12_345}, {Name: "node-2", Zone: "a"}}}, nil
}

func (fakeServer) GetServiceProgress(_ context.Context, r *kpng.GetServiceProgressRequest) (*kpng.GetServiceProgressResponse, error) {
	if r.GetOrigin() == "TCPRoute" {
		return &kpng.GetServiceProgressResponse{Revision: 8}, nil
	}
	return &kpng.GetServiceProgressResponse{Revision: 7, Lagging: []*kpng.NodeStatus{{Name: "node-1", Connected: true}}, Disconnected: []string{"node-2", "node-3"}}, nil
}

func (fakeServer) ExplainService(_ context.Context, r *kpng.ExplainServiceRequest) (*kpng.ExplainServiceResponse, error) {
	text := strings.TrimSpace("explained "+r.GetOrigin()) + "\n"
	return &kpng.ExplainServiceResponse{Text: text, NodeUnknown: true}, nil
}

func (fakeServer) GetNodeState(_ context.Context, r *kpng.GetNodeStateRequest) (*kpng.GetNodeStateResponse, error) {
	if r.GetName() == "none" {
		return &kpng.GetNodeStateResponse{}, nil
	}
	return &kpng.GetNodeStateResponse{Node: &kpng.Node{Name: r.GetNodeName(), Deleting: true}, Services: []*kpng.ServiceState{{Text: "ns/web\n"}}}, nil
}

func (fakeServer) WatchNodeState(_ *kpng.WatchNodeStateRequest, s grpc.ServerStreamingServer[kpng.WatchNodeStateResponse]) error {
	for _, part := range []*kpng.WatchNodeStateResponse{
		{Node: &kpng.Node{Name: "node-1", Ips: [][]byte{{192, 0, 2, 1}}}, Changed: []*kpng.ServiceState{{Text: "ns/a\n"}}, NodeUnknown: true},
		{Changed: []*kpng.ServiceState{{Text: "ns/b\n"}}, Removed: []string{"ns/c"}, Complete: true},
	} {
		if err := s.Send(part); err != nil {
			return err
		}
	}
	return status.Error(codes.PermissionDenied, "expired")
}

// serve starts a gRPC server, and returns a connection to it and its address.
func serve(t *testing.T, transport credentials.TransportCredentials, options ...grpc.ServerOption) *grpc.ClientConn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer(options...)
	kpng.RegisterInspectServiceServer(s, fakeServer{})
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(transport))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func run(t *testing.T, line string, cfg Config, servers ...*grpc.ClientConn) error {
	t.Helper()
	c, err := Parse("ctl", strings.Fields(line))
	require.NoError(t, err)
	return c.Run(t.Context(), cfg, servers...)
}

func TestAnswersAsText(t *testing.T) {
	server := serve(t, insecure.NewCredentials())
	for _, row := range []struct{ line, out, err string }{
		{"nodes", "NAME    ZONE  CONNECTED  SENT  APPLIED  LAG   CLIENT  ERROR\n" +
			"node-1  -     yes        7     0        12µs  -       -\n" +
			"node-2  a     no         -     -        -     -       -\n", ""},
		{"nodes none", "", `no node has a name with prefix "none"`},
		{"explain n ns/web", "explained\n", `there is no Node "n" in the cluster state; the output is the state that a node of that name would have`},
		{"state n ns/web", "# node n [] deleting\nns/web\n", ""},
		{"state n ns/none", "", "node n has no state for Service ns/none: not found"},
		{"state n ServiceImport:ns/none", "", "node n has no state for ServiceImport ns/none: not found"},
		{"explain n TCPRoute:ns/web", "explained TCPRoute\n", `there is no Node "n" in the cluster state; the output is the state that a node of that name would have`},
		{"progress TCPRoute:ns/web", "revision 8 of 1970-01-01T00:00:00Z: applied 0, lagging 0, disconnected 0\n", ""},
		{"state n", "# node node-1 [192.0.2.1]\nns/a\nns/b\n", `there is no Node "n" in the cluster state; the output is the state that a node of that name would have`},
		{"watch n", "# node node-1 [192.0.2.1]\n+ ns/a\n+ ns/b\n- ns/c\n", "not allowed: expired"},
		{"progress ns/web", "revision 7 of 1970-01-01T00:00:00Z: applied 0, lagging 1, disconnected 2\n" +
			"NAME    ZONE  CONNECTED  SENT  APPLIED  LAG  CLIENT  ERROR\nnode-1  -     yes        0     0        0    -       -\n\ndisconnected:\nnode-2\nnode-3\n", ErrNodesLagging.Error()},
		{"lag", "", "the server has no inspection service, or an older one: method GetLag not implemented"},
	} {
		var out strings.Builder
		err := run(t, row.line, Config{Out: &out}, server)
		require.Equal(t, row.out, out.String(), row.line)
		if row.err == "" {
			require.NoError(t, err, row.line)
		} else {
			require.EqualError(t, err, row.err, row.line)
		}
	}
	require.ErrorIs(t, run(t, "progress ns/web", Config{Out: new(strings.Builder)}, server), ErrNodesLagging)
}

// TestUnreachableServers checks that each server is tried, and named.
func TestUnreachableServers(t *testing.T) {
	var servers []*grpc.ClientConn
	for _, address := range []string{"unix:///nowhere/a", "unix:///nowhere/b"} {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		servers = append(servers, conn)
	}
	var warnings []string
	cfg := Config{Out: new(strings.Builder), Warn: func(m string) { warnings = append(warnings, m) }}
	require.ErrorContains(t, run(t, "lag", cfg, servers...), "the server cannot be reached or is not ready")
	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "unix:///nowhere/a")
	require.Contains(t, warnings[0], "trying the next server")

	cfg.Warn = nil
	require.NoError(t, run(t, "nodes", cfg, servers[0], serve(t, insecure.NewCredentials())))
	require.EqualError(t, run(t, "nodes", cfg), "no server")
}

func TestHintIfOnlyOneEndUsesTLS(t *testing.T) {
	cfg := Config{Out: new(strings.Builder)}
	// A server without a certificate gets as far as the handshake.
	secure := serve(t, insecure.NewCredentials(), grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})))
	require.ErrorContains(t, run(t, "lag", cfg, secure), "set --ca")
	plain := serve(t, credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12}))
	require.ErrorContains(t, run(t, "lag", cfg, plain), "--insecure connects without")
}

func TestDurations(t *testing.T) {
	for ns, want := range map[uint64]string{
		0: "0", 999: "999ns", 12_345: "12µs", 1_234_567: "1.235ms", 12_345_678: "12ms", 1_234_567_890: "1.235s", 90_400_000_000: "1m30s",
	} {
		require.Equal(t, want, duration(ns))
	}
}

// TestJSONHasReadableAddresses checks that everything else is as protojson writes it.
func TestJSONHasReadableAddresses(t *testing.T) {
	m := &kpng.GetNodeStateResponse{Revision: 1 << 60, Node: &kpng.Node{
		Name: "node-1", Ips: [][]byte{{192, 168, 0, 1}, {15: 1}}, LoopbackNodePorts: [][]byte{{127, 0, 0, 1}},
	}}
	out := func(m proto.Message) string {
		var b strings.Builder
		require.NoError(t, (&query{Config: Config{Out: &b}}).printLine(m))
		return b.String()
	}
	raw, err := protojson.MarshalOptions{EmitUnpopulated: true}.Marshal(m)
	require.NoError(t, err)
	want := strings.NewReplacer("wKgAAQ==", "192.168.0.1", "AAAAAAAAAAAAAAAAAAAAAQ==", "::1", "fwAAAQ==", "127.0.0.1").Replace(string(raw))
	require.JSONEq(t, want, out(m))
	require.Contains(t, out(m), `["192.168.0.1","::1"]`)
	require.Less(t, strings.Index(out(m), "ips"), strings.Index(out(m), "revision"), "in the order of the protocol")
	require.Contains(t, out(&kpng.Endpoint{Address: []byte{1, 2, 3}}), `"AQID"`, "bytes that are no address stay as they are")
	require.Contains(t, out(&kpng.Endpoint{}), `"address":""`)
	extensions := &kpng.EndpointExtensions{Extensions: []*kpng.Extension{
		{Key: "a", Value: []byte("true")}, {Key: "b", Value: []byte("<\n>")}, {Key: "c", Value: []byte{0xff, 1, 2, 3}}, {Key: "d"},
	}}
	require.JSONEq(t, `{"endpoints":[],"extensions":[{"key":"a","value":"true"},{"key":"b","value":"<\n>"},`+
		`{"key":"c","value":{"base64":"/wECAw=="}},{"key":"d","value":""}]}`, out(extensions), "four bytes are no address here")
	require.Contains(t, out(extensions), `"<\n>"`)
	text := &kpng.GetNodeStateResponse{Services: []*kpng.ServiceState{{Text: "Any -> <reject> & more"}}}
	require.Contains(t, out(text), "Any -> <reject> & more")
}
