// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package consistent_test

import (
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/localsink/consistent"
)

// Every node selects the same endpoint for a client.
func ExampleNewTable() {
	var endpoints []consistent.Endpoint
	for _, addr := range []string{"10.244.1.4:8080", "10.244.2.7:8080", "10.244.2.9:8080"} {
		endpoints = append(endpoints, consistent.Endpoint{Addr: netip.MustParseAddrPort(addr), Weight: 1})
	}
	table := consistent.NewTable(endpoints)
	for _, client := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		slot := table.Slot(consistent.HashClient(netip.MustParseAddr(client)))
		fmt.Println(client, "->", endpoints[table[slot]].Addr)
	}
	// Output:
	// 192.0.2.1 -> 10.244.2.9:8080
	// 192.0.2.2 -> 10.244.2.9:8080
	// 192.0.2.3 -> 10.244.2.7:8080
}
