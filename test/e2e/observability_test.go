// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/test/cluster"
)

// differencesDocument lists how the drop-in differs from kube-proxy.
const differencesDocument = "kube-proxy-differences.md"

// TestObservability runs the drop-in and kube-proxy with equal objects and compares their
// metrics and HTTP endpoints item by item with the document of differences: a difference
// that it does not list fails, and so does one that it lists and that does not exist.
func TestObservability(t *testing.T) {
	fx := newFixture(t)
	metrics, answers := map[string]map[string]metricShape{}, map[string]map[string]answer{}
	for _, p := range proxies()[:2] {
		p.extra = []string{"--profiling"}
		p.build(t, fx)
		p.start(t, fx)
		fx.causeChanges(t)
		answers[p.name] = fx.askAll(t)
		metrics[p.name] = fx.scrape(t)
		if p.name == "kpng" {
			t.Run("dashboard and alerts", func(t *testing.T) { testMonitoring(t, metrics[p.name]) })
			t.Run("verbosity", func(t *testing.T) { testVerbosity(t, fx, p) })
		}
		p.clean(t, fx)
	}
	t.Run("metrics", func(t *testing.T) {
		compareWithDocument(t, "## Metrics", metricDifferences(metrics["kpng"], metrics["kube-proxy"]))
	})
	t.Run("endpoints", func(t *testing.T) {
		compareWithDocument(t, "## HTTP endpoints", answerDifferences(answers["kpng"], answers["kube-proxy"]))
	})
}

// TestMetricsOfIPTables compares the metrics in the mode iptables.
func TestMetricsOfIPTables(t *testing.T) {
	fx := newFixture(t)
	var scraped []map[string]metricShape
	for _, name := range []string{"kpng-iptables", "kube-proxy-iptables"} {
		all := proxies()
		p := all[slices.IndexFunc(all, func(p *proxyUnderTest) bool { return p.name == name })]
		p.build(t, fx)
		p.start(t, fx)
		fx.causeChanges(t)
		for _, path := range []string{"/healthz", "/livez"} {
			require.Equal(t, 200, fx.ask(t, request{method: "GET", address: healthAddress, path: path}).code)
		}
		scraped = append(scraped, fx.scrape(t))
		p.clean(t, fx)
	}
	compareWithDocument(t, "## Metrics of the mode iptables", metricDifferences(scraped[0], scraped[1]))
}

// causeChanges lets a proxy do what each of its metrics counts: partial syncs of both
// kinds, changes with a trigger time, and UDP endpoints that disappear.
func (fx *fixture) causeChanges(t *testing.T) {
	t.Helper()
	fx.barrier(t, syncLimit)
	before := []service{{name: "observed", ports: []string{"53/udp"}, slices: endpoints("pod1", "pod2")}}
	fx.apply(t, nil, before)
	fx.barrier(t, syncLimit)
	slices := fx.client.DiscoveryV1().EndpointSlices(namespace)
	list, err := slices.List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=observed"})
	require.NoError(t, err)
	require.Len(t, list.Items, 2)
	for _, s := range list.Items {
		s.Annotations = map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": time.Now().UTC().Format(time.RFC3339Nano)}
		s.Endpoints = s.Endpoints[:1]
		_, err := slices.Update(t.Context(), &s, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	fx.barrier(t, syncLimit)
	fx.apply(t, before, nil)
	fx.barrier(t, syncLimit)
}

// testVerbosity changes the verbosity of a running proxy.
func testVerbosity(t *testing.T, fx *fixture, p *proxyUnderTest) {
	a := fx.ask(t, request{method: "PUT", address: metricsAddress, path: "/debug/flags/v", body: "4"})
	require.Equal(t, 200, a.code)
	fx.barrier(t, syncLimit)
	require.NoError(t, fx.control.APIServer.Kill())
	require.NoError(t, fx.control.StartAPIServer(t.Context()))
	eventually(t, time.Minute, "debug lines", func() error {
		if !strings.Contains(p.process.Tail(1000), "level=DEBUG") {
			return fmt.Errorf("the log of %s has no line of level debug", cluster.NodeName)
		}
		return nil
	})
	require.Equal(t, 200, fx.ask(t, request{method: "PUT", address: metricsAddress, path: "/debug/flags/v", body: "2"}).code)
}

// compareWithDocument compares the differences that occur, such as "x: labels", with the
// rows of a section: a regular expression of x, the kinds of difference, and the reason.
func compareWithDocument(t *testing.T, section string, found map[string][]string) {
	t.Helper()
	occurs := map[int]bool{}
	table := rows(t, differencesDocument, section)
	for _, subject := range slices.Sorted(maps.Keys(found)) {
		for _, kind := range found[subject] {
			listed := false
			for i, row := range table {
				require.Len(t, row, 3, "%s: %v", section, row)
				pattern := strings.ReplaceAll(strings.Trim(row[0], "`"), `\|`, "|")
				if regexp.MustCompile("^("+pattern+")$").MatchString(subject) && row[1] == kind {
					occurs[i], listed = true, true
				}
			}
			if !listed {
				t.Errorf("%s does not list: %s: %s", differencesDocument, subject, kind)
			}
		}
	}
	for i, row := range table {
		if !occurs[i] {
			t.Errorf("%s lists a difference that does not occur: %v", differencesDocument, row[:2])
		}
		if len(row[2]) < 10 {
			t.Errorf("%s gives no reason for: %v", differencesDocument, row[:2])
		}
	}
}
