// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodemetrics_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/remote/node"
	"sigs.k8s.io/kpng/remote/node/nodemetrics"
	"sigs.k8s.io/kpng/watchers"
)

// stats is a Server with fixed statistics.
type stats node.Stats

func (s stats) Stats() node.Stats { return node.Stats(s) }

func TestNodesCollectsStats(t *testing.T) {
	var lags []time.Duration
	for i := range 100 {
		lags = append(lags, time.Duration(i)*time.Second)
	}
	got := nodemetrics.NewNodes(stats{
		Revision: 7, Connected: 100, Current: 1, Failing: 2, Disconnected: 3, Unknown: 6, Lags: lags, Messages: 4, Bytes: 5,
	})
	require.NoError(t, testutil.CollectAndCompare(got, strings.NewReader(`
# HELP kpng_server_node_lag_max_seconds Maximum of kpng_server_node_lag_seconds.
# TYPE kpng_server_node_lag_max_seconds gauge
kpng_server_node_lag_max_seconds 99
# HELP kpng_server_node_lag_seconds Time since the oldest update that a connected node has not applied was sent; 0 if it has applied all.
# TYPE kpng_server_node_lag_seconds summary
kpng_server_node_lag_seconds{quantile="0.5"} 49
kpng_server_node_lag_seconds{quantile="0.9"} 89
kpng_server_node_lag_seconds{quantile="0.99"} 98
kpng_server_node_lag_seconds_sum 4950
kpng_server_node_lag_seconds_count 100
# HELP kpng_server_nodes Number of nodes, by whether they are connected to this server.
# TYPE kpng_server_nodes gauge
kpng_server_nodes{state="absent"} 3
kpng_server_nodes{state="connected"} 100
# HELP kpng_server_nodes_current Number of connected nodes that have applied the newest revision.
# TYPE kpng_server_nodes_current gauge
kpng_server_nodes_current 1
# HELP kpng_server_nodes_failing Number of connected nodes that failed to apply their last update.
# TYPE kpng_server_nodes_failing gauge
kpng_server_nodes_failing 2
# HELP kpng_server_nodes_unknown Number of connected nodes whose Node object is missing.
# TYPE kpng_server_nodes_unknown gauge
kpng_server_nodes_unknown 6
# HELP kpng_server_ready 1 if the cluster state is complete and the server sends updates, otherwise 0.
# TYPE kpng_server_ready gauge
kpng_server_ready 1
# HELP kpng_server_revision Newest revision of this server. Revisions of different servers are unrelated.
# TYPE kpng_server_revision gauge
kpng_server_revision 7
# HELP kpng_server_sent_bytes_total Bytes sent to nodes, before compression and framing.
# TYPE kpng_server_sent_bytes_total counter
kpng_server_sent_bytes_total 5
# HELP kpng_server_sent_messages_total Messages sent to nodes.
# TYPE kpng_server_sent_messages_total counter
kpng_server_sent_messages_total 4
`)))
}

// Each stage counts its own duration. Unknown times are not observed.
func TestLatenciesObserveEachStage(t *testing.T) {
	l := nodemetrics.NewLatencies()
	start := time.Unix(1_000_000, 0)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	l.Observe(node.Acknowledgement{
		TriggerTimes: []time.Time{at(0), at(1)}, PublishedTime: at(2), SentTime: at(4), AppliedTime: at(8), Duration: time.Second,
	})
	l.Observe(node.Acknowledgement{SentTime: at(4), AppliedTime: at(3)}) // clocks differ
	l.Observe(node.Acknowledgement{Error: "failed", SentTime: at(4), AppliedTime: at(8)})
	require.Equal(t, map[string]string{
		"total": "2 15", "store": "2 3", "send": "1 2", "acknowledge": "2 4", "apply": "2 1", "applied": "2", "failed": "1",
	}, sums(t, l))
}

// sums returns the number of samples and their sum of each histogram, and the values of
// counters.
func sums(t *testing.T, c prometheus.Collector) map[string]string {
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	out := map[string]string{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := "total"
			for _, l := range m.GetLabel() {
				name = l.GetValue()
			}
			if h := m.GetHistogram(); h != nil {
				out[name] = number(float64(h.GetSampleCount())) + " " + number(h.GetSampleSum())
			} else {
				out[name] = number(m.GetCounter().GetValue())
			}
		}
	}
	return out
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Names and units follow the Prometheus conventions, also before the first revision.
func TestMetricsPassLint(t *testing.T) {
	server, err := node.NewServer(watchers.NewStore(), node.ServerConfig{})
	require.NoError(t, err)
	defer server.Close()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(nodemetrics.NewNodes(server), nodemetrics.NewLatencies())
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
	n, err := testutil.GatherAndCount(registry, "kpng_server_ready", "kpng_network_programming_duration_seconds")
	require.NoError(t, err)
	require.Equal(t, 2, n)
}
