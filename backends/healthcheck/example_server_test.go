// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
)

// A proxy with its own resolution of Services states which of them have a health check node
// port, and how many local endpoints they have.
func ExampleServer() {
	health, err := healthcheck.NewProxyHealth(time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	networks := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} // see nodeports.Selection.Networks
	server, err := healthcheck.NewServer(networks, healthcheck.Config{Healthy: health.Healthy})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = server.Run(ctx) }) // opens failed ports, follows the node's addresses
	defer running.Wait()
	defer cancel()

	// The proxy has programmed its rules: load balancers may send connections.
	health.Applied()
	web, port := localsink.ServiceName{Namespace: "default", Name: "web"}, unusedPort()
	if err := server.Set(ctx, web, port, 2); err != nil {
		fmt.Println(err) // for an event about the Service; the port is opened later
	}
	probe(port)
	if err := server.Set(ctx, web, port, 0); err != nil { // the endpoints of this node terminate
		fmt.Println(err)
	}
	probe(port)
	server.Remove(ctx, web)
	// Output:
	// 200 OK
	// {"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}
	// 503 Service Unavailable
	// {"service":{"namespace":"default","name":"web"},"localEndpoints":0,"serviceProxyHealthy":true}
}

// probe prints the answer of a health check.
func probe(port uint16) {
	response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	fmt.Printf("%s\n%s", response.Status, body)
}
