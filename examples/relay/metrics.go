// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/remote/cluster"
)

// upstreamMetrics tell what readiness must not: nodes are better off with the facts that
// a relay has than with none, so it stays ready without its upstream.
func upstreamMetrics(contact func() cluster.Status) []prometheus.Collector {
	gauge := func(name, help string, value func(c cluster.Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(contact()) })
	}
	return []prometheus.Collector{
		gauge("kpng_relay_upstream_connected", "Whether a server above is heard.", func(c cluster.Status) float64 {
			if c.Synced {
				return 1
			}
			return 0
		}),
		gauge("kpng_relay_upstream_lost_seconds", "For how long no server above has been heard; the facts may be as old. 0 while one is.",
			func(c cluster.Status) float64 {
				if c.Synced {
					return 0
				}
				return time.Since(c.Since).Seconds()
			}),
	}
}
