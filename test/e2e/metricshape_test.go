// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"
)

// A metricShape is what expressions about a metric depend on.
type metricShape struct {
	kind string
	// labels are the names of all labels of all series, without le and quantile.
	labels []string
	// values are the values of each label.
	values map[string][]string
	// buckets are the bounds of a histogram.
	buckets []float64
}

// scrape returns the metrics of the proxy by name.
func (fx *fixture) scrape(t *testing.T) map[string]metricShape {
	t.Helper()
	a := fx.ask(t, request{method: "GET", address: metricsAddress, path: "/metrics"})
	require.Equal(t, 200, a.code)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	require.NoError(t, err)
	shapes := map[string]metricShape{}
	for name, family := range families {
		shapes[name] = shapeOf(family)
	}
	require.NotEmpty(t, shapes)
	return shapes
}

func shapeOf(family *dto.MetricFamily) metricShape {
	s := metricShape{kind: strings.ToLower(family.GetType().String()), values: map[string][]string{}}
	for _, m := range family.GetMetric() {
		for _, l := range m.GetLabel() {
			if s.values[l.GetName()] == nil {
				s.labels = append(s.labels, l.GetName())
			}
			if !slices.Contains(s.values[l.GetName()], l.GetValue()) {
				s.values[l.GetName()] = append(s.values[l.GetName()], l.GetValue())
			}
		}
		if s.buckets == nil {
			for _, b := range m.GetHistogram().GetBucket() {
				s.buckets = append(s.buckets, b.GetUpperBound())
			}
		}
	}
	slices.Sort(s.labels)
	return s
}

// metricDifferences returns how the metrics of two proxies differ, by name.
func metricDifferences(ours, theirs map[string]metricShape) map[string][]string {
	found := map[string][]string{}
	for name, a := range ours {
		b, ok := theirs[name]
		if !ok {
			found[name] = []string{"only here"}
			continue
		}
		for kind, differs := range map[string]bool{
			"type": a.kind != b.kind, "labels": !slices.Equal(a.labels, b.labels), "buckets": !slices.Equal(a.buckets, b.buckets),
		} {
			if differs {
				found[name] = append(found[name], kind)
			}
		}
	}
	for name := range theirs {
		if _, ok := ours[name]; !ok {
			found[name] = []string{"only in kube-proxy"}
		}
	}
	return found
}

// TestMetricDifferencesAreFound has one metric for each way in which two scrapes differ.
func TestMetricDifferencesAreFound(t *testing.T) {
	ours := map[string]metricShape{
		"same": {kind: "gauge", labels: []string{"a"}}, "type": {kind: "gauge"}, "labels": {kind: "gauge", labels: []string{"a"}},
		"buckets": {kind: "histogram", buckets: []float64{1}}, "ours": {},
	}
	theirs := map[string]metricShape{
		"same": {kind: "gauge", labels: []string{"a"}}, "type": {kind: "counter"}, "labels": {kind: "gauge"},
		"buckets": {kind: "histogram", buckets: []float64{2}}, "theirs": {},
	}
	require.Equal(t, map[string][]string{
		"type": {"type"}, "labels": {"labels"}, "buckets": {"buckets"}, "ours": {"only here"}, "theirs": {"only in kube-proxy"},
	}, metricDifferences(ours, theirs))
}
