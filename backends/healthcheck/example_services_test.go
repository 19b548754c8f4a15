// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package healthcheck_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"

	"sigs.k8s.io/kpng/backends/healthcheck"
	"sigs.k8s.io/kpng/localsink"
)

// The health check node port of a Service answers with the number of its local endpoints.
func ExampleServices() {
	checks, err := healthcheck.NewServices(healthcheck.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer checks.Close()

	node := &localsink.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	port := unusedPort()
	web := &localsink.Service{
		Name:        localsink.ServiceName{Namespace: "default", Name: "web"},
		HealthCheck: &localsink.HealthCheck{Port: port, LocalEndpoints: 2},
	}
	if err := checks.Sync(context.Background(), &localsink.Update{Node: node, Changed: []*localsink.Service{web}}); err != nil {
		fmt.Println(err)
	}

	probe(port)
	// Output:
	// 200 OK
	// {"service":{"namespace":"default","name":"web"},"localEndpoints":2,"serviceProxyHealthy":true}
}

func unusedPort() uint16 {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer listener.Close()
	return uint16(listener.Addr().(*net.TCPAddr).Port)
}
