// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"os/exec"
	"testing"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/iptables"
	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/localsink"
)

// TestConformanceIptables checks both variants of iptables, with conntrack and localhost.
func TestConformanceIptables(t *testing.T) {
	for variant, maxServices := range map[iptables.Variant]int{iptables.VariantLegacy: 0, iptables.VariantNFT: 1000} {
		t.Run(string(variant), func(t *testing.T) {
			if _, err := exec.LookPath("iptables-" + string(variant)); err != nil {
				t.Skip(err)
			}
			backend := backendtest.Backend{
				Name: "iptables, conntrack and localhost",
				New: func(_ context.Context, node backendtest.Namespace) (localsink.Sink, error) {
					rules, err := iptables.New(iptables.Config{Variant: variant, LocalhostNodePorts: true})
					if err != nil {
						return nil, err
					}
					flows, err := conntrack.New(conntrack.Config{})
					if err != nil {
						return nil, err
					}
					loopback, err := localhost.New(localhost.Config{Dial: backendtest.DialIn(node)})
					return localsink.Chain(rules, flows, loopback), err
				},
				LoopbackNodePorts: true,
				MaxServices:       maxServices,
				Drift: func() error {
					return exec.Command("iptables-"+string(variant), "-w", "-t", "nat", "-F").Run()
				},
			}
			checkBackend(t, "iptables-"+string(variant), backend)
		})
	}
}
