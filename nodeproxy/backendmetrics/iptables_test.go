// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendmetrics

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/backends/iptables"
)

func TestRulesAreCollected(t *testing.T) {
	collector := newIPTablesCollector(func() iptables.Stats {
		return iptables.Stats{Families: []iptables.FamilyStats{
			{LoadFailures: 1, ChangeFailures: 2, Rules: map[string]int{"filter": 70, "nat": 90, "mangle": 1}, LastWritten: map[string]int{"nat": 4}},
			{IPv6: true, Rules: map[string]int{"nat": 80}},
		}}
	})
	require.NoError(t, testutil.CollectAndCompare(collector, strings.NewReader(`
# HELP kubeproxy_sync_proxy_rules_iptables_last Rules in the last write.
# TYPE kubeproxy_sync_proxy_rules_iptables_last gauge
kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv4",table="filter"} 0
kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv4",table="nat"} 4
kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv6",table="filter"} 0
kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv6",table="nat"} 0
# HELP kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total Writes of the rules of changed Services that failed.
# TYPE kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total counter
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv4"} 2
kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv6"} 0
# HELP kubeproxy_sync_proxy_rules_iptables_restore_failures_total Writes of rules that failed.
# TYPE kubeproxy_sync_proxy_rules_iptables_restore_failures_total counter
kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv4"} 3
kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv6"} 0
# HELP kubeproxy_sync_proxy_rules_iptables_total Rules of the proxy.
# TYPE kubeproxy_sync_proxy_rules_iptables_total gauge
kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv4",table="filter"} 70
kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv4",table="nat"} 90
kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv6",table="filter"} 0
kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv6",table="nat"} 80
`)))
}
