// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package servertier

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/remote/cluster"
)

// NewUpstream returns the collectors of a relay's connection to the servers above it, as
// status returns it: cluster.Client.Status. Readiness must not depend on the connection:
// nodes need the state that a relay has, even if it is old.
func NewUpstream(status func() cluster.Status) []prometheus.Collector {
	gauge := func(name, help string, value func(s cluster.Status) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return value(status()) })
	}
	return []prometheus.Collector{
		gauge("kpng_relay_upstream_connected", "1 while a server above is connected and has sent the complete cluster state, 0 otherwise.",
			func(s cluster.Status) float64 {
				if s.Synced {
					return 1
				}
				return 0
			}),
		gauge("kpng_relay_upstream_lost_seconds", "Time since the connection to the servers above was lost, the maximum age of the cluster state. 0 while connected.",
			func(s cluster.Status) float64 {
				if s.Synced {
					return 0
				}
				return time.Since(s.Since).Seconds()
			}),
	}
}
