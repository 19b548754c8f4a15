// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command compat is a server or a client. A test builds it with two versions of the module
// and connects the programs. It uses as little of the module as possible, so that one source
// builds with many versions.
//
//	compat serve ADDRESS: prints the address on which it listens. For each line of input,
//	  it changes random objects and prints the state of node-1 as a local Resolver computes
//	  it.
//	compat watch ADDRESS: prints each state of node-1 that it receives.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "serve":
		err = serve(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "watch":
		err = watch(os.Args[2])
	default:
		err = fmt.Errorf("usage: compat serve|watch ADDRESS")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func print(u *localsink.Update) error {
	var services []*localsink.Service
	for svc := range u.All.All() {
		services = append(services, svc)
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"node": u.Node, "services": services})
}

func serve(address string) error {
	store := watchers.NewStore()
	random := watchertest.NewRandom(1, 3, 20)
	random.Extended = true
	change := func(n int) {
		for range n {
			store.Update(random.Step())
		}
	}
	change(50)
	store.Update(func(tx *watchers.Tx) { tx.SetSynced() })
	server, err := node.NewServer(store, node.ServerConfig{})
	if err != nil {
		return err
	}
	g := grpc.NewServer(node.ServerOption())
	server.Register(g)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go server.Run(context.Background())
	go g.Serve(listener)
	fmt.Println(listener.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		change(20)
		if n := store.Snapshot().Node("node-1"); n == nil || len(n.IPs) == 0 {
			// The state of an absent Node depends on the versions before it.
			complete := &watchers.Node{Name: "node-1", IPs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}}
			store.Update(func(tx *watchers.Tx) { tx.SetNode(complete) })
		}
		resolver, err := nodelocal.NewResolver(store, nodelocal.Config{NodeName: "node-1"})
		if err != nil {
			return err
		}
		resolver.Refresh()
		if err := print(resolver.FullUpdate()); err != nil {
			return err
		}
		resolver.Close()
	}
	return nil // without a graceful stop
}

func watch(address string) error {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		return err
	}
	client, err := node.NewClient(node.ClientConfig{NodeName: "node-1", MaxReconnect: 100 * time.Millisecond}, conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // the test closes standard input to stop the program
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	return client.Run(ctx, localsink.Func(func(_ context.Context, u *localsink.Update) error { return print(u) }))
}
