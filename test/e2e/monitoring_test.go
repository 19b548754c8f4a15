// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// monitoringDirectory has the alert rules and the dashboard.
const monitoringDirectory = "../../examples/deploy/monitoring"

// An expression is a PromQL expression and where it is.
type expression struct{ where, text string }

// alertExpressions returns the expressions of the alert rules, and checks their other fields.
func alertExpressions(t *testing.T) (all []expression) {
	data, err := os.ReadFile(filepath.Join(monitoringDirectory, "alerts.yaml"))
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.UnmarshalStrict(data, &file))
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			require.NotEmpty(t, rule.Alert)
			require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"], rule.Alert)
			require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			require.NotEmpty(t, rule.Annotations["description"], rule.Alert)
			_, err := time.ParseDuration(rule.For)
			require.NoError(t, err, rule.Alert)
			all = append(all, expression{rule.Alert, rule.Expr})
		}
	}
	return all
}

// dashboardExpressions returns the expressions of the dashboard, and checks its panels.
func dashboardExpressions(t *testing.T) (all []expression) {
	data, err := os.ReadFile(filepath.Join(monitoringDirectory, "dashboard.json"))
	require.NoError(t, err)
	var dashboard struct {
		Title, UID    string
		SchemaVersion int
		Panels        []struct {
			ID          int
			Title, Type string
			GridPos     struct{ H, W, X, Y int }
			Targets     []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(data, &dashboard))
	require.NotEmpty(t, dashboard.Title)
	ids := map[int]bool{}
	for _, panel := range dashboard.Panels {
		require.False(t, ids[panel.ID], "panel ID %d is used twice", panel.ID)
		ids[panel.ID] = true
		require.LessOrEqual(t, panel.GridPos.X+panel.GridPos.W, 24, panel.Title)
		if panel.Type == "row" {
			continue
		}
		require.NotEmpty(t, panel.Targets, panel.Title)
		for _, target := range panel.Targets {
			text := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(target.Expr)
			all = append(all, expression{"panel " + panel.Title, text})
		}
	}
	return all
}

// testMonitoring checks that each expression is valid PromQL, and that each metric, label and
// value that it selects occurs in a scrape.
func testMonitoring(t *testing.T, scraped map[string]metricShape) {
	all := slices.Concat(alertExpressions(t), dashboardExpressions(t))
	require.Greater(t, len(all), 20)
	for _, e := range all {
		for _, err := range checkExpression(e.text, scraped) {
			t.Errorf("%s: %v", e.where, err)
		}
	}
}

// checkExpression returns what is wrong with an expression.
func checkExpression(text string, scraped map[string]metricShape) (errs []error) {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return []error{err}
	}
	// Labels that a scrape adds, and those that functions make.
	known := map[string]bool{"instance": true, "job": true, "le": true}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		if selector.Name == "up" {
			return nil
		}
		shape, ok := findMetric(selector.Name, scraped)
		if !ok {
			errs = append(errs, fmt.Errorf("metric %q is not in the scrape", selector.Name))
			return nil
		}
		for _, label := range shape.labels {
			known[label] = true
		}
		errs = append(errs, checkMatchers(selector, shape)...)
		return nil
	})
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if aggregation, ok := node.(*parser.AggregateExpr); ok {
			for _, label := range aggregation.Grouping {
				if !known[label] {
					errs = append(errs, fmt.Errorf("label %q is not in the scrape", label))
				}
			}
		}
		return nil
	})
	return errs
}

func checkMatchers(selector *parser.VectorSelector, shape metricShape) (errs []error) {
	for _, m := range selector.LabelMatchers {
		if slices.Contains([]string{"__name__", "instance", "job", "le"}, m.Name) {
			continue
		}
		values, ok := shape.values[m.Name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("metric %q has no label %q", selector.Name, m.Name))
		case m.Type == labels.MatchEqual && !slices.Contains(values, m.Value):
			errs = append(errs, fmt.Errorf("metric %q has no value %q of the label %q", selector.Name, m.Value, m.Name))
		}
	}
	return errs
}

// findMetric returns the metric of a series, whose name may have a suffix of a histogram.
func findMetric(name string, scraped map[string]metricShape) (metricShape, bool) {
	if shape, ok := scraped[name]; ok && shape.kind != "histogram" {
		return shape, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if shape, ok := scraped[strings.TrimSuffix(name, suffix)]; ok && strings.HasSuffix(name, suffix) && shape.kind == "histogram" {
			return shape, true
		}
	}
	return metricShape{}, false
}

// TestWrongExpressionsAreFound has one expression for each kind of mistake.
func TestWrongExpressionsAreFound(t *testing.T) {
	scraped := map[string]metricShape{
		"x_total":   {kind: "counter", labels: []string{"family"}, values: map[string][]string{"family": {"IPv4"}}},
		"x_seconds": {kind: "histogram", values: map[string][]string{}},
	}
	for text, mistakes := range map[string]int{
		`sum by (family, instance) (rate(x_total{family="IPv4"}[5m])) > 1`:  0,
		`histogram_quantile(0.9, sum by (le) (rate(x_seconds_bucket[5m])))`: 0,
		`rate(x_total[5m]`:            1,
		`y_total > 1`:                 1,
		`x_seconds > 1`:               1,
		`x_total{famly="IPv4"}`:       1,
		`x_total{family="IPv5"}`:      1,
		`sum by (famly) (x_total)`:    1,
		`y_total + x_total{famly=""}`: 2,
	} {
		require.Len(t, checkExpression(text, scraped), mistakes, text)
	}
}
