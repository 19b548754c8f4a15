// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"sigs.k8s.io/kpng/export/dns"
	"sigs.k8s.io/kpng/watchers"
)

// A server answers for the Services of a store. In a cluster, a watcher fills the store.
func Example() {
	store := watchers.NewStore()
	store.Update(func(tx *watchers.Tx) {
		tx.SetService(&watchers.Service{Name: watchers.ServiceName{Namespace: "default", Name: "web"}, ClusterIP: netip.MustParseAddr("10.96.0.10")})
		tx.SetSynced()
	})
	server, err := dns.New(store, dns.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	listener, err := dns.Listen(ctx, "127.0.0.1:0") // port 53 in a cluster
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- server.Run(ctx, listener) }()

	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, listener.Addr().String())
	}}
	addrs, err := resolver.LookupNetIP(ctx, "ip4", "web.default.svc.cluster.local.")
	fmt.Println(addrs, err)
	cancel()
	fmt.Println(<-done)
	// Output:
	// [10.96.0.10] <nil>
	// <nil>
}
