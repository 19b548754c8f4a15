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

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/transport"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/file"
)

// serve runs a NodeService server: a watcher, a store and permissions.
func serve(ctx context.Context, address string, watcher watchers.Watcher) error {
	store := watchers.NewStore()
	nodes, err := node.NewServer(store, node.ServerConfig{
		Authorize: transport.AllowNode, AuthorizeInspect: transport.AllowInspect,
	})
	if err != nil {
		return err
	}
	defer nodes.Close()
	// Without TLS, only processes of this machine can connect.
	listener, err := transport.Listen(ctx, address, transport.ListenConfig{})
	if err != nil {
		return err
	}
	guard := transport.Guard{
		Authenticate: transport.AnonymousAuthenticator("node-1"),
		Authorize:    transport.Rules{OwnNode: transport.Subjects{Names: []string{"system:anonymous"}}}.Authorize,
	}
	var watching sync.WaitGroup
	watching.Go(func() { _ = watcher.Run(ctx, store) })
	defer watching.Wait()
	return transport.Serve(ctx, listener, transport.ServeConfig{Guard: guard, Register: nodes.RegisterInspect}, nodes)
}

// follow programs sink with the desired state of node-1 from a server.
func follow(ctx context.Context, address string, sink localsink.Sink) error {
	conn, err := grpc.NewClient(address, append(transport.ClientOptions(transport.ClientLimits{}),
		grpc.WithTransportCredentials(transport.SocketCredentials()))...)
	if err != nil {
		return err
	}
	defer conn.Close()
	client, err := node.NewClient(node.ClientConfig{NodeName: "node-1"}, conn)
	if err != nil {
		return err
	}
	return client.Run(ctx, sink)
}

// A server of manifests on a Unix socket, and a client that prints the desired state of
// node-1.
func ExampleServe() {
	dir, err := os.MkdirTemp("", "kpng")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	address := "unix://" + filepath.Join(dir, "kpng.sock")
	ctx, cancel := context.WithCancel(context.Background())
	printer := localsink.Func(func(_ context.Context, u *localsink.Update) error {
		for _, svc := range u.Changed {
			fmt.Print(svc.Text())
		}
		cancel() // one state is enough for an example
		return nil
	})
	var running sync.WaitGroup
	defer running.Wait()
	manifests, err := file.New("../../testdata/example", file.Config{})
	if err != nil {
		log.Fatal(err)
	}
	running.Go(func() {
		if err := serve(ctx, address, manifests); err != nil {
			log.Fatal(err)
		}
	})
	if err := follow(ctx, address, printer); err != nil {
		log.Fatal(err)
	}
	// Output:
	// default/web
	//   port "http" TCP
	//     ClusterIP 10.96.0.10:80
	//       Any -> 10.244.1.4:8080(local) 10.244.2.7:8080
}
