// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"context"
	"fmt"
	"log"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers/file"
)

// serveManifests serves the Services of manifests at the address of listener, as node-1 has them.
func serveManifests(ctx context.Context, listener *transport.Listener) error {
	manifests, err := file.New("../../testdata/example", file.Config{})
	if err != nil {
		return err
	}
	sink, err := xds.New(xds.Config{})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() {
		served <- sink.Serve(ctx, listener, xds.ServeConfig{NodeName: "node-1", Guard: transport.Guard{
			Authenticate: transport.AnonymousAuthenticator(""), // processes of this machine
			Authorize:    transport.Rules{Allow: map[transport.Verb]transport.Subjects{transport.VerbWatchNode: {Names: []string{"system:anonymous"}}}}.Authorize,
		}})
	}()
	if err := nodelocal.Run(ctx, manifests, sink, nodelocal.Config{NodeName: "node-1"}); err != nil {
		return err
	}
	return <-served
}

// A gRPC client only needs the address of the server in its bootstrap file. This one shows what it
// receives.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := transport.Listen(ctx, "127.0.0.1:0", transport.ListenConfig{})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serveManifests(ctx, listener) }()

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		log.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DiscoveryRequest{
		TypeUrl:       "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
		ResourceNames: []string{"web.default.svc.cluster.local:80"},
	}); err != nil {
		log.Fatal(err)
	}
	response, err := stream.Recv()
	if err != nil {
		log.Fatal(err)
	}
	endpoints := &endpointv3.ClusterLoadAssignment{}
	if err := response.GetResources()[0].UnmarshalTo(endpoints); err != nil {
		log.Fatal(err)
	}
	fmt.Println(endpoints.GetClusterName())
	for _, e := range endpoints.GetEndpoints()[0].GetLbEndpoints() {
		address := e.GetEndpoint().GetAddress().GetSocketAddress()
		fmt.Println(address.GetAddress(), address.GetPortValue())
	}
	conn.Close()
	cancel()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// web.default.svc.cluster.local:80
	// 10.244.1.4 8080
	// 10.244.2.7 8080
}
