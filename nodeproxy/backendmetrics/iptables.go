// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendmetrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sigs.k8s.io/kpng/backends/iptables"
)

// NewIPTables returns the collectors of b: its writes and rules, and the changes of its rules by
// other programs.
func NewIPTables(b *iptables.Backend) []prometheus.Collector {
	return []prometheus.Collector{
		newIPTablesCollector(b.Stats),
		newExternalChanges(func() uint64 { return b.Stats().ExternalChanges }),
	}
}

// An iptablesCollector collects the statistics of the families. The failures of changes are kube-proxy's
// failures of partial restores.
type iptablesCollector struct {
	stats                                         func() iptables.Stats
	failures, partialFailures, rules, lastWritten *prometheus.Desc
}

func newIPTablesCollector(stats func() iptables.Stats) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kubeproxy_sync_proxy_rules_iptables_"+name, help, append(labels, "ip_family"), nil)
	}
	return &iptablesCollector{
		stats:           stats,
		failures:        desc("restore_failures_total", "Writes of rules that failed."),
		partialFailures: desc("partial_restore_failures_total", "Writes of the rules of changed Services that failed."),
		rules:           desc("total", "Rules of the proxy.", "table"),
		lastWritten:     desc("last", "Rules in the last write.", "table"),
	}
}

// Describe implements [prometheus.Collector].
func (c *iptablesCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.failures, c.partialFailures, c.rules, c.lastWritten} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (c *iptablesCollector) Collect(ch chan<- prometheus.Metric) {
	for _, f := range c.stats().Families {
		family := "IPv4"
		if f.IPv6 {
			family = "IPv6"
		}
		ch <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(f.LoadFailures+f.ChangeFailures), family)
		ch <- prometheus.MustNewConstMetric(c.partialFailures, prometheus.CounterValue, float64(f.ChangeFailures), family)
		for _, table := range []string{"filter", "nat"} { // the table mangle has only a canary
			ch <- prometheus.MustNewConstMetric(c.rules, prometheus.GaugeValue, float64(f.Rules[table]), table, family)
			ch <- prometheus.MustNewConstMetric(c.lastWritten, prometheus.GaugeValue, float64(f.LastWritten[table]), table, family)
		}
	}
}
