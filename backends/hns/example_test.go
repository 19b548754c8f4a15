// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package hns_test

import (
	"context"
	"fmt"
	"net/netip"

	"sigs.k8s.io/kpng/backends/hns"
	"sigs.k8s.io/kpng/backends/hns/hnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// On a Windows node, HNS is that of package sigs.k8s.io/kpng/backends/hns/hcn.
func ExampleNew() {
	fake := hnstest.New(hnstest.Config{Network: hns.Network{Name: "cbr0", Type: hns.TypeL2Bridge}, Features: hnstest.AllFeatures()})
	fake.AddLocalEndpoints(netip.MustParseAddr("10.244.0.4"))

	ctx := context.Background()
	backend, err := hns.New(ctx, hns.Config{HNS: fake, Network: "cbr0", EnableDSR: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer backend.Close()
	web := &localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []localsink.Port{{
			Protocol: localsink.ProtocolTCP,
			Frontends: []localsink.Frontend{{
				Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.10:80"), Routes: []localsink.Route{{}},
			}},
			Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{
				{Addr: netip.MustParseAddrPort("10.244.0.4:8080"), Local: true}, {Addr: netip.MustParseAddrPort("10.244.1.7:8080")},
			}}},
		}},
	}
	if err := backend.Sync(ctx, sinktest.NewUpdate(&localsink.Node{Name: "node-1"}, nil, sinktest.NewState(web))); err != nil {
		fmt.Println(err)
		return
	}
	for _, write := range fake.TakeWrites() {
		fmt.Println(write)
	}
	// Output:
	// CreateEndpoint remote 10.244.1.7 mac=02-11-0a-f4-01-07
	// CreateLoadBalancer TCP 10.96.0.10:80 -> 8080 [10.244.0.4 10.244.1.7] DSR
}
