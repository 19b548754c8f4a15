// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"

	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// A client connects to a node port on 127.0.0.1 and reaches an endpoint.
func ExampleNew() {
	sink, err := localhost.New(localhost.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer sink.Close()

	loopback := netip.MustParseAddr("127.0.0.1")
	nodePort := unusedPort()
	web := &localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []localsink.Port{{
			Protocol: localsink.ProtocolTCP,
			Pools:    []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: startEndpoint(), Weight: 1}}}},
			Frontends: []localsink.Frontend{{
				Kind:   localsink.KindNodePort,
				Addr:   netip.AddrPortFrom(netip.IPv4Unspecified(), nodePort),
				Routes: []localsink.Route{{}},
			}},
		}},
	}
	node := &localsink.Node{LoopbackNodePorts: []netip.Addr{loopback}}
	if err := sink.Sync(context.Background(), sinktest.NewUpdate(node, nil, sinktest.NewState(web))); err != nil {
		fmt.Println(err)
	}

	conn, err := net.Dial("tcp", netip.AddrPortFrom(loopback, nodePort).String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	answer, _ := io.ReadAll(conn)
	fmt.Printf("%s", answer)
	// Output: hello from the endpoint
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

func unusedPort() uint16 {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).AddrPort().Port()
}
