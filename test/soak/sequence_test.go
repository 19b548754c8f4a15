// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/test/controlplane"
)

// sequence returns the texts of the operations of the first rounds.
func sequence(seed uint64, rounds int) (texts []string) {
	g := newGenerator(seed)
	for range rounds {
		for _, o := range g.round() {
			texts = append(texts, o.text)
		}
	}
	return texts
}

func TestSeedDeterminesSequence(t *testing.T) {
	first := sequence(7, 60)
	require.Equal(t, first, sequence(7, 60))
	require.NotEqual(t, first[:20], sequence(8, 60)[:20])
}

// Each process runs at the end of each round, and all kinds of operations occur.
func TestSequenceHasAllOperations(t *testing.T) {
	g := newGenerator(7)
	var text strings.Builder
	for range 600 {
		for _, o := range g.round() {
			text.WriteString(o.text + "\n")
		}
		require.Empty(t, g.down)
	}
	all := text.String()
	for _, want := range []string{
		"put Service", "delete Service", "put load balancer", "put EndpointSlice", "delete EndpointSlice", "zone of", "first address of",
		"create Node extra", "delete Node extra", "refused Service", "refused EndpointSlice", "invalid-fqdn", "invalid-orphan",
		"kill server-a", "start server-a", "kill relay", "kill proxy-1", "kill agent-2", "kill agent-4", "stop server-b", "stop agent-3", "continue agent-3",
		"flush ruleset", "delete table ip kpng", "delete element", "delete rule", "add rule", "compact etcd", "rotate certificate of relay",
		"rotate client certificate of relay", "rotate client certificate of node-4", "replace the authority", "restart kube-apiserver",
		`"type":"NodePort"`, `"type":"LoadBalancer"`, `"type":"ExternalName"`, `"clusterIP":"None"`, `"externalIPs"`, `"sessionAffinity":"ClientIP"`,
		`"internalTrafficPolicy":"Local"`, `"externalTrafficPolicy":"Local"`, `"loadBalancerSourceRanges"`, `"protocol":"SCTP"`, `"forZones"`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no operation has %q", want)
		}
	}
	require.NotContains(t, all, "kill server-b")
	require.NotContains(t, all, "kill agent-3")
}

// Each step waits until all have read the files of the one before it.
func TestAuthorityIsReplacedInSteps(t *testing.T) {
	first, err := controlplane.NewAuthority()
	require.NoError(t, err)
	a, now := authorities{signs: first}, time.Now()
	step := func() (write bool) {
		t.Helper()
		write, err := a.step(now)
		require.NoError(t, err)
		trusted := a.trusted()
		again, err := a.step(now.Add(certificateLimit - time.Second))
		require.NoError(t, err)
		require.False(t, again)
		require.Equal(t, trusted, a.trusted(), "the next step is not due")
		now = now.Add(certificateLimit + connectionLimit)
		return write
	}
	require.False(t, step())
	second := a.next
	require.Equal(t, slices.Concat(first.PEM(), second.PEM()), a.trusted())
	require.True(t, step())
	require.Equal(t, second, a.signs)
	require.Equal(t, slices.Concat(second.PEM(), first.PEM()), a.trusted())
	require.False(t, step())
	require.Equal(t, second.PEM(), a.trusted())
	require.Equal(t, 1, a.rotations)
	require.False(t, step())
	require.NotEqual(t, second, a.next)
}

// Connections may fail only while the rules of their node have an external change.
func TestTrafficFailsOnlyDuringExternalChanges(t *testing.T) {
	tr := &traffic{drifted: map[int][]interval{}}
	repaired := tr.drift(1)
	now := time.Now()
	repaired()
	tr.record(connection{node: 1, from: now.Add(-time.Second), to: now.Add(time.Second), text: "during a change"}, true)
	require.NoError(t, tr.check())
	tr.record(connection{node: 2, from: now.Add(-time.Second), to: now.Add(time.Second), text: "of another node"}, true)
	require.ErrorContains(t, tr.check(), "of another node")
}

// A connection from a port that the kernel tracks since an external change is not translated.
func TestUntranslatedConnectionsAreRecognised(t *testing.T) {
	const tracked = "ipv6     10 tcp      6 64 SYN_SENT src=fd00:0050:0000:0000:0000:0000:0000:0001 " +
		"dst=fd00:0096:0000:0000:0000:0000:0000:0102 sport=51616 dport=80 [UNREPLIED] " +
		"src=fd00:0096:0000:0000:0000:0000:0000:0102 dst=fd00:0050:0000:0000:0000:0000:0000:0001 sport=80 dport=51616 mark=0 zone=0 use=2\n"
	now := time.Now()
	since, found := untranslatedSince(tracked, "fd00:96::102", 51616, now)
	require.True(t, found)
	require.Equal(t, now.Add(-56*time.Second), since)
	_, found = untranslatedSince(tracked, "fd00:96::102", 51617, now)
	require.False(t, found)
	translated := strings.Replace(tracked, "src=fd00:0096:0000:0000:0000:0000:0000:0102", "src=fd00:0244:0002:0000:0000:0000:0000:0011", 1)
	_, found = untranslatedSince(translated, "fd00:96::102", 51616, now)
	require.False(t, found)
}

func TestGrowthIsNamed(t *testing.T) {
	r := resources{samples: map[string][]map[string]float64{}}
	for i := range 8 {
		r.samples["flat"] = append(r.samples["flat"], map[string]float64{"go_goroutines": 100})
		r.samples["leaks"] = append(r.samples["leaks"], map[string]float64{"go_goroutines": 100 + 20*float64(i)})
	}
	err := r.flat()
	require.ErrorContains(t, err, "leaks: go_goroutines grew from 160 to 240")
	require.NotContains(t, err.Error(), "flat")
}
