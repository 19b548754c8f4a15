// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// program applies updates until ctx is done. The rules stay in effect after that;
// nftables.Cleanup removes them. Real programs use package reconciler, which retries.
func program(ctx context.Context, updates <-chan *localsink.Update) error {
	backend, err := nftables.New(nftables.Config{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err // it names the remedy
	}
	defer backend.Close()
	var last *localsink.Update
	for {
		select {
		case <-ctx.Done():
			return nil
		case last = <-updates:
		case <-backend.ResyncRequested(): // the next Sync repairs the tables
		}
		if last != nil {
			if err := backend.Sync(ctx, last); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
	}
}

// The example prints what the maps of a backend would hold. The function program above
// applies updates to the kernel.
func Example() {
	_ = program
	service := &localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []localsink.Port{{
			Protocol: localsink.ProtocolTCP,
			Frontends: []localsink.Frontend{{
				Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}},
			}},
			Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort("10.244.0.7:8080"), Weight: 1}}}},
		}},
	}
	update := &localsink.Update{Node: &localsink.Node{Name: "node-1"}, All: sinktest.NewState(service), Changed: []*localsink.Service{service}}
	text, err := nftables.Describe(nftables.Config{}, update)
	if err != nil {
		fmt.Println(err)
	}
	fmt.Print(text)
	// Output:
	// table ip kpng {
	//   service-ips
	//     10.96.0.1 . tcp . 80 : goto loadbalance-service-pool1-1
	//   cluster-ips
	//     10.96.0.1
	//   endpoints-service-pool1-max8
	//     10.96.0.1 . tcp . 80 . slot 0 : 10.244.0.7:8080
	// }
}
