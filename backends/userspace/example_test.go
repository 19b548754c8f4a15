// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package userspace_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"

	"sigs.k8s.io/kpng/backends/userspace"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A Service is served at a free port of 127.0.0.1.
func ExampleNew() {
	backend, err := userspace.New(userspace.Config{Map: userspace.FreePorts(netip.MustParseAddr("127.0.0.1"))})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Close()

	web := &localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []localsink.Port{{
			Name:     "http",
			Protocol: localsink.ProtocolTCP,
			Pools:    []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: startEndpoint(), Weight: 1}}}},
			Frontends: []localsink.Frontend{{
				Kind:   localsink.KindClusterIP,
				Addr:   netip.MustParseAddrPort("10.96.0.10:80"),
				Routes: []localsink.Route{{}},
			}},
		}},
	}
	if err := backend.Sync(context.Background(), sinktest.NewUpdate(&localsink.Node{}, nil, sinktest.NewState(web))); err != nil {
		fmt.Println(err)
	}
	for _, l := range backend.Listeners() {
		conn, err := net.Dial("tcp", l.Local.String())
		if err != nil {
			fmt.Println(err)
			return
		}
		answer, _ := io.ReadAll(conn)
		conn.Close()
		fmt.Printf("%s:%s %s: %s", l.Service, l.Port, l.Frontend, answer)
	}
	// Output: default/web:http 10.96.0.10:80: hello from the endpoint
}

// startEndpoint starts a server that greets one client, and returns its address.
func startEndpoint() netip.AddrPort {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}
	}
	go func() {
		defer listener.Close()
		if conn, err := listener.Accept(); err == nil {
			fmt.Fprintln(conn, "hello from the endpoint")
			conn.Close()
		}
	}()
	return listener.Addr().(*net.TCPAddr).AddrPort()
}
