// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Command client calls a health server, whose target is the argument, again and again. Whenever the server is
// another one than before it prints its address and the time, in nanoseconds since 1970. GRPC_XDS_BOOTSTRAP names
// the file with the xDS server.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	_ "google.golang.org/grpc/xds"
)

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, target string) error {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client, last := healthpb.NewHealthClient(conn), ""
	for {
		var server peer.Peer
		if _, err := client.Check(ctx, &healthpb.HealthCheckRequest{}, grpc.Peer(&server)); err != nil {
			continue // a call may fail while its connection closes
		}
		if addr := server.Addr.String(); addr != last {
			fmt.Println(addr, time.Now().UnixNano())
			last = addr
		}
	}
}
