// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package transport_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"sigs.k8s.io/kpng/remote/transport"
)

// exampleHealth calls Allow before it answers. It uses the service name as a node name.
type exampleHealth struct{ *health.Server }

func (e exampleHealth) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := transport.Allow(ctx, transport.Access{Verb: transport.VerbWatchNode, Node: r.GetService()}); err != nil {
		return nil, err
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// A server on a Unix socket of node n1, whose owner may watch this node. On the network,
// ListenConfig.Credentials would be those of Certificates.Server, and
// AuthenticateCertificate and Tokens.Authenticate would identify peers.
func Example() {
	dir, err := os.MkdirTemp("", "kpng")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	address := "unix://" + filepath.Join(dir, "kpng.sock")

	listener, err := transport.Listen(context.Background(), address, transport.ListenConfig{})
	if err != nil {
		log.Fatal(err)
	}
	guard := transport.Guard{
		Authenticate: transport.FirstAuthenticator(transport.SocketAuthenticator("n1"), transport.AnonymousAuthenticator("n1")),
		Authorize: transport.Rules{OwnNode: transport.Subjects{
			Names: []string{fmt.Sprintf("unix:uid:%d", os.Getuid()), "system:anonymous"},
		}}.Authorize,
	}
	options := append(transport.ServerOptions(transport.ServerLimits{}), grpc.Creds(listener.Credentials()))
	server := grpc.NewServer(append(options, guard.ServerOptions(listener)...)...)
	healthpb.RegisterHealthServer(server, exampleHealth{health.NewServer()})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	defer serving.Wait()
	defer server.Stop()

	conn, err := grpc.NewClient(address, append(transport.ClientOptions(transport.ClientLimits{}),
		grpc.WithTransportCredentials(transport.SocketCredentials()))...)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	for _, node := range []string{"n1", "n2"} {
		answer, err := healthpb.NewHealthClient(conn).Check(context.Background(), &healthpb.HealthCheckRequest{Service: node})
		fmt.Println(node, answer.GetStatus(), status.Code(err))
	}
	// Output:
	// n1 SERVING OK
	// n2 UNKNOWN PermissionDenied
}
