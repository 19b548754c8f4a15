// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package iptables_test

import (
	"context"
	"log"
	"log/slog"
	"net/netip"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/iptables"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// The backend needs root, or CAP_NET_ADMIN and CAP_NET_RAW. It is chained with package conntrack,
// which ends UDP flows to removed endpoints.
func ExampleNew() { //nolint:testableexamples // needs root
	rules, err := iptables.New(iptables.Config{Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	defer rules.Close()
	flows, err := conntrack.New(conntrack.Config{})
	if err != nil {
		log.Fatal(err)
	}
	sink := localsink.Chain(rules, flows)

	// Package localsink/reconciler calls Sync; here it is called directly.
	web := &localsink.Service{Name: localsink.ServiceName{Namespace: "default", Name: "web"}, Ports: []localsink.Port{{
		Protocol:  localsink.ProtocolTCP,
		Frontends: []localsink.Frontend{{Kind: localsink.KindClusterIP, Addr: netip.MustParseAddrPort("10.96.0.10:80"), Routes: []localsink.Route{{}}}},
		Pools:     []localsink.Pool{{Endpoints: []localsink.Endpoint{{Addr: netip.MustParseAddrPort("10.244.1.4:8080"), Weight: 1}}}},
	}}}
	update := sinktest.NewUpdate(&localsink.Node{Name: "node-a"}, nil, sinktest.NewState(web))
	if err := sink.Sync(context.Background(), update); err != nil {
		log.Fatal(err)
	}
}

// Cleanup removes the rules of the backend, and those of kube-proxy's iptables mode.
func ExampleCleanup() { //nolint:testableexamples // needs root
	if err := iptables.Cleanup(iptables.Config{}); err != nil {
		log.Fatal(err)
	}
}
