// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// NewTakeover returns the collector of failed attempts to remove what kube-proxy left. Calls
// of failures may overlap.
func NewTakeover(failures func() uint64) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{
		Namespace: kpng, Name: "takeover_failures_total",
		Help: "Failed attempts to remove the rules that kube-proxy left; each is repeated.",
	}, func() float64 { return float64(failures()) })
}
