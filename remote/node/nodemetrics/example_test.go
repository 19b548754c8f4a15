// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodemetrics_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/node/nodemetrics"
	"sigs.k8s.io/kpng/watchers"
)

func Example() {
	latencies := nodemetrics.NewLatencies()
	server, err := node.NewServer(watchers.NewStore(), node.ServerConfig{OnAcknowledge: latencies.Observe})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(latencies, nodemetrics.NewNodes(server))

	families, err := registry.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range families {
		if f.GetName() == "kpng_server_ready" {
			fmt.Println(f.GetName(), f.GetMetric()[0].GetGauge().GetValue())
		}
	}
	// Output: kpng_server_ready 0
}
