// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"context"
	"log"
	"net/netip"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/localsink"
)

// The sink follows the one that programs the rules. The example needs the privilege to
// access the kernel's connection tracking, so it is compiled and not run.
func ExampleNew() { //nolint:testableexamples // needs root
	rules := localsink.Func(func(context.Context, *localsink.Update) error {
		return nil // program the rules
	})
	flows, err := conntrack.New(conntrack.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer flows.Close()

	sink := localsink.Chain(rules, flows)
	if err := sink.Sync(context.Background(), &localsink.Update{Node: &localsink.Node{Name: "node"}}); err != nil {
		log.Print(err)
	}
}

// A program without sinks cuts UDP flows after it has changed its rules. The example is
// compiled and not run, for the same reason; a test runs cutFlows with entries of the kernel.
func ExampleCutter() { //nolint:testableexamples // needs root
	cutter, err := conntrack.NewCutter()
	if err != nil {
		log.Fatal(err)
	}
	defer cutter.Close()
	removed, err := cutFlows(context.Background(), cutter)
	if err != nil {
		log.Print(err) // the flows that are left end by themselves, or with the next call
	}
	log.Printf("removed %d UDP flows", removed)
}

// cutFlows cuts the flows to an endpoint that is gone, by whichever frontend they came, and
// all flows of a Service that is gone, which had a cluster IP and a node port. Addresses of
// the node come from nodeports.Selection.Addresses.
func cutFlows(ctx context.Context, cutter *conntrack.Cutter) (uint, error) {
	const udp = localsink.ProtocolUDP
	return cutter.Cut(ctx,
		conntrack.Match{Protocol: udp, Endpoint: netip.MustParseAddrPort("10.0.0.2:5353")},
		conntrack.Match{Protocol: udp, Frontend: netip.MustParseAddrPort("10.96.0.1:53")},
		conntrack.Match{Protocol: udp, Frontend: netip.MustParseAddrPort("192.0.2.1:30053")},
	)
}
