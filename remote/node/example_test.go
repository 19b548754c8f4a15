// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
)

// A server streams the desired state of each node, and a client applies it to a sink. In a
// cluster, a watcher fills the store and package transport secures the connection.
func Example() {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		ip := netip.MustParseAddr("10.96.0.10")
		tx.SetService(&watchers.Service{
			Name: watchers.ServiceName{Namespace: "default", Name: "web"}, ClusterIP: ip, ClusterIPs: []netip.Addr{ip},
			IPFamilies: []watchers.IPFamily{watchers.FamilyIPv4},
			Ports:      []watchers.ServicePort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 80}},
		})
		tx.SetEndpointSlice(&watchers.EndpointSlice{
			Namespace: "default", Name: "web-1", Service: watchers.ServiceName{Namespace: "default", Name: "web"}, Family: watchers.FamilyIPv4,
			Ports:     []watchers.EndpointPort{{Name: "http", Protocol: localsink.ProtocolTCP, Port: 8080}},
			Endpoints: []watchers.Endpoint{{Addr: netip.MustParseAddr("10.1.0.7"), Node: "node-1", Ready: true, Serving: true}},
		})
		tx.SetSynced()
	})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var running sync.WaitGroup

	server, err := node.NewServer(store, node.ServerConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	g := grpc.NewServer(node.ServerOption())
	server.Register(g)
	listener, _ := net.Listen("tcp", "127.0.0.1:0")
	running.Go(func() { _ = g.Serve(listener) })
	running.Go(func() { _ = server.Run(ctx) })

	conn, _ := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	client, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, conn)
	if err != nil {
		fmt.Println(err)
		return
	}
	err = client.Run(ctx, localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for svc := range u.All.All() {
			fmt.Print(svc.Text())
		}
		cancel()
		return nil
	}))
	fmt.Println("ended:", err)

	conn.Close()
	g.Stop()
	running.Wait()
	server.Close()
	// Output:
	// default/web
	//   port "http" TCP
	//     ClusterIP 10.96.0.10:80
	//       Any -> 10.1.0.7:8080(local)
	// ended: <nil>
}
