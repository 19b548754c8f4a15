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
)

// program applies updates until ctx is done. The rules stay in effect after that;
// nftables.Cleanup removes them.
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
		case <-backend.ResyncRequested(): // Sync repairs the tables
		}
		if last != nil {
			if err := backend.Sync(ctx, last); err != nil {
				fmt.Fprintln(os.Stderr, err) // a real program retries, see localsink.Sink
			}
		}
	}
}

func Example() {
	service := &localsink.Service{
		Name: localsink.ServiceName{Namespace: "default", Name: "web"},
		Ports: []localsink.Port{{
			Protocol: localsink.ProtocolTCP,
			Frontends: []localsink.Frontend{{
				Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.1:80"), Routes: []localsink.Route{{}},
			}},
			Pools: []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort("10.244.0.7:8080")}}}},
		}},
	}
	fmt.Println(service.Name, "needs", service.RequiredFeatures())
	_ = program
	// Output: default/web needs IPv4, TCP, ClusterIP
}
