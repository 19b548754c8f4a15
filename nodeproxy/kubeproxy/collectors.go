// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxy

import (
	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/nodeproxy/metrics"
)

// collectors returns the collectors that read the state of the proxy when they are scraped.
func (p *proxy) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		metrics.NewBuildInfo(p.cfg.Version),
		metrics.NewFeatures(p.features()...),
	}
}

// features returns the feature gates of kube-proxy. Its metric has no stage for a feature
// that is generally available.
func (p *proxy) features() (all []metrics.Feature) {
	for _, f := range p.cfg.Settings.Features() {
		if f.Stage == "GA" {
			f.Stage = ""
		}
		all = append(all, metrics.Feature{Name: f.Name, Stage: f.Stage, Enabled: f.Enabled})
	}
	return all
}
