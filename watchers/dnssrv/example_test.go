// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dnssrv_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/dnssrv"
)

// A Service gets its endpoints from the SRV records of a service registry. A proxy would pass the
// watcher to nodelocal.Run.
func ExampleNew() {
	registry, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer registry.Close()
	go answerAll(registry)

	watcher, err := dnssrv.New(dnssrv.Config{
		Servers: []netip.AddrPort{netip.MustParseAddrPort(registry.LocalAddr().String())},
		Services: []dnssrv.Service{{
			Name: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
			Ports: []dnssrv.Port{{Port: 80, Records: "web.service.consul"}},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	store, ended := watchers.NewStore(), make(chan error)
	go func() { ended <- watcher.Run(ctx, store) }()
	cluster := store.Snapshot()
	for ; !cluster.Synced(); cluster = store.Snapshot() {
		<-cluster.Newer()
	}
	for s := range cluster.Services() {
		fmt.Println(s.Name, s.ClusterIP, s.Ports[0].Port)
		for slice := range cluster.EndpointSlices(s.Name) {
			fmt.Println(slice.Endpoints[0].Addr, slice.Ports[0].Port)
		}
	}
	stop()
	if err := <-ended; err != nil {
		log.Fatal(err)
	}
	// Output:
	// DNS:default/web 10.96.0.10 80
	// 10.0.0.1 8080
}

// answerAll answers each query as a registry with one instance does.
func answerAll(registry net.PacketConn) {
	target := dnsmessage.MustNewName("a.node.consul.")
	buffer := make([]byte, 512)
	for {
		n, client, err := registry.ReadFrom(buffer)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buffer[:n]) != nil {
			continue
		}
		m.Response, m.Answers = true, []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET},
			Body:   &dnsmessage.SRVResource{Weight: 1, Port: 8080, Target: target},
		}}
		m.Additionals = []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: target, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}},
		}}
		if answer, err := m.Pack(); err == nil {
			_, _ = registry.WriteTo(answer, client)
		}
	}
}
