// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendmetrics_test

import (
	"fmt"

	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/nodeproxy/backendmetrics"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

func ExampleNewConntrack() { //nolint:testableexamples // needs the privilege to read the connection table
	collector, observe := backendmetrics.NewConntrack()
	flows, err := conntrack.New(conntrack.Config{OnReconcile: observe})
	if err != nil {
		fmt.Println(err) // not on Linux, or without the privilege
		return
	}
	defer flows.Close()
	handler, err := metrics.Handler(collector)
	fmt.Println(handler != nil, err)
}
