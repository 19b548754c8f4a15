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
		metrics.NewNotProgrammed(p.sink.Count),
		metrics.NewLoopback(p.loopback.Stats),
		metrics.NewHTTP(p.cfg.Limiter.Stats),
		metrics.NewBuildInfo(p.cfg.Version),
		metrics.NewFeatures(p.features()...),
	}
}

// features returns the feature gates of kube-proxy whose effect the proxy has, with their
// stages in Kubernetes 1.37. Only the first can be set.
func (p *proxy) features() []metrics.Feature {
	return []metrics.Feature{
		{Name: "AllowServiceExternalIPs", Enabled: !p.cfg.Settings.Nodelocal(nil).IgnoreExternalIPs},
		{Name: "DisableNodeKubeProxyVersion", Stage: "DEPRECATED", Enabled: true},
		{Name: "KubeProxyNFTablesLocalhostNodePorts", Stage: "ALPHA", Enabled: true},
		{Name: "MultiCIDRServiceAllocator", Enabled: true},
		{Name: "NFTablesNetlink", Stage: "BETA", Enabled: true},
		{Name: "NFTablesProxyMode", Enabled: true},
		{Name: "PreferSameTrafficDistribution", Enabled: true},
		{Name: "WatchListClient", Stage: "BETA", Enabled: true},
	}
}
