// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package clientmetrics_test

import (
	"fmt"
	"net/http"

	"sigs.k8s.io/kpng/nodeproxy/clientmetrics"
	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

func ExampleRegister() { //nolint:testableexamples // changes the metrics of the process
	collectors, err := clientmetrics.Register() // before the first client is created
	if err != nil {
		fmt.Println(err)
		return
	}
	handler, err := metrics.Handler(collectors...)
	if err != nil {
		fmt.Println(err)
		return
	}
	http.Handle("/metrics", handler)
}
