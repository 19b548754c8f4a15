// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
)

func main() {
	health, err := healthcheck.NewProxyHealth(time.Minute)
	if err != nil {
		panic(err)
	}
	server, err := healthcheck.NewServer([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, healthcheck.Config{Healthy: health.Healthy})
	if err != nil {
		panic(err)
	}
	name := localsink.ServiceName{Namespace: "default", Name: "web"}
	fmt.Println(server.Set(context.Background(), name, 30000, 1))
	server.Remove(context.Background(), name)
	fmt.Println(server.Run(context.Background()))
}
