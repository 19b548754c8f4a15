// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	kubeProxyChart  = "kube-proxy"
	serverTierChart = "server-tier"
	systemNamespace = "kube-system" // of the kube-proxy chart
)

// values are values of a chart that override its defaults.
type values = map[string]any

// tierValues are the values of the committed manifests of the server tier.
func tierValues() values {
	return values{
		"createNamespace": true,
		"apiServer":       values{"host": "192.0.2.10"},
		"stateServers":    []any{"192.0.2.11:10270", "192.0.2.12:10270"},
	}
}

// render renders a chart as `helm install` does, with the checks of its schema. The keys are
// the names of the templates, without directory.
func render(chart string, overrides values) (map[string]string, error) {
	loaded, err := loader.LoadDir(chartDirectory(chart))
	if err != nil {
		return nil, err
	}
	release := common.ReleaseOptions{Name: "test", Namespace: systemNamespace, IsInstall: true, Revision: 1}
	if chart == serverTierChart {
		release.Namespace = namespace
	}
	all, err := util.ToRenderValues(loaded, overrides, release, nil)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Render(loaded, all)
	files := map[string]string{}
	for path, text := range rendered {
		files[filepath.Base(path)] = text
	}
	return files, err
}

func chartDirectory(chart string) string { return filepath.Join(manifests, "charts", chart) }

// objects returns the objects of rendered files, in order.
func objects(t *testing.T, files map[string]string) (all []*unstructured.Unstructured) {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if filepath.Ext(name) != ".yaml" {
			continue
		}
		for document := range bytes.SplitSeq([]byte(files[name]), []byte("\n---\n")) {
			object := &unstructured.Unstructured{}
			require.NoError(t, yaml.UnmarshalStrict(document, &object.Object), "%s:\n%s", name, document)
			if len(object.Object) > 0 {
				all = append(all, object)
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

// A committed is a manifest in the repository that is the output of a chart.
type committed struct {
	chart, template, file string
	values                values
}

func committedManifests() (all []committed) {
	for _, name := range []string{"namespace.yaml", "node-agent.yaml", "state-server.yaml"} {
		all = append(all, committed{serverTierChart, name, name, tierValues()})
	}
	for _, distribution := range []string{"kubeadm", "kind", "k3s", "talos"} {
		overrides := values{"distribution": distribution}
		if distribution == "kind" { // created without kube-proxy
			overrides["nodeSelector"] = values{"service-proxy": nil}
		}
		all = append(all, committed{kubeProxyChart, "daemonset.yaml", "kube-proxy/" + distribution + ".yaml", overrides})
	}
	return all
}

// TestManifestsAreRenderedCharts compares the committed manifests with the output of the
// charts. UPDATE_MANIFESTS=1 writes them.
func TestManifestsAreRenderedCharts(t *testing.T) {
	// Conditions in templates leave blank lines.
	separators, blank := regexp.MustCompile(`\n---\n+`), regexp.MustCompile(`\n{3,}`)
	for _, c := range committedManifests() {
		files, err := render(c.chart, c.values)
		require.NoError(t, err, c.file)
		text := blank.ReplaceAllString(strings.TrimSpace(files[c.template])+"\n", "\n\n")
		text = separators.ReplaceAllString(text, "\n---\n")
		path := filepath.Join(manifests, c.file)
		if os.Getenv("UPDATE_MANIFESTS") != "" {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		}
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, text, string(data), "%s is not the output of its chart; UPDATE_MANIFESTS=1 writes it", c.file)
	}
}

// TestChartsPassLint runs the checks of `helm lint --strict`.
func TestChartsPassLint(t *testing.T) {
	for chart, v := range map[string]values{kubeProxyChart: {}, serverTierChart: tierValues()} {
		linter := lint.RunAll(chartDirectory(chart), v, systemNamespace)
		for _, m := range linter.Messages {
			require.Less(t, m.Severity, support.WarningSev, "%s: %v", chart, m)
		}
	}
}

// TestChartsRejectInvalidValues checks the schemas, and that required values have no default.
func TestChartsRejectInvalidValues(t *testing.T) {
	for _, c := range []struct {
		chart  string
		values values
		want   string
	}{
		{kubeProxyChart, values{"distribution": "openshift"}, "distribution"},
		{kubeProxyChart, values{"distribution": "other"}, "apiServer.host: required"},
		{kubeProxyChart, values{"existingConfigMap": "-"}, "apiServer.host: required"},
		{kubeProxyChart, values{"nodeselector": values{}}, "nodeselector"},
		{kubeProxyChart, values{"healthPort": 0}, "healthPort"},
		{kubeProxyChart, values{"apiServer": values{"port": 65536}}, "port"},
		{kubeProxyChart, values{"config": values{"mode": "ipvs"}}, "mode"},
		{kubeProxyChart, values{"image": values{"digest": "v1"}}, "digest"},
		{kubeProxyChart, values{"extraArgs": []any{"v=2"}}, "extraArgs"},
		{serverTierChart, values{}, "host"},
		{serverTierChart, values{"apiServer": values{"host": "192.0.2.10"}}, "stateServers"},
		{serverTierChart, values{"apiServer": values{"host": "192.0.2.10"}, "stateServers": []any{"192.0.2.11"}}, "stateServers"},
		{serverTierChart, values{"agents": values{}}, "agents"},
	} {
		_, err := render(c.chart, c.values)
		require.ErrorContains(t, err, c.want, "%s %v", c.chart, c.values)
	}
}

// TestNotes checks the text that `helm install` prints.
func TestNotes(t *testing.T) {
	files, err := render(kubeProxyChart, values{"distribution": "kubeadm"})
	require.NoError(t, err)
	require.Contains(t, files["NOTES.txt"], "kubernetes.io/os=linux,service-proxy=kpng\n")
	require.Contains(t, files["NOTES.txt"], "The configuration is the ConfigMap kube-proxy.")
	files, err = render(kubeProxyChart, values{"distribution": "k3s", "nodeSelector": values{"service-proxy": nil}, "healthPort": 20256})
	require.NoError(t, err)
	require.Contains(t, files["NOTES.txt"], "kubernetes.io/os=linux\n")
	require.Contains(t, files["NOTES.txt"], "http://127.0.0.1:20256/healthz")
	require.NotContains(t, files["NOTES.txt"], "before you label it")
	files, err = render(serverTierChart, tierValues())
	require.NoError(t, err)
	require.Contains(t, files["NOTES.txt"], "kpng lag --server 192.0.2.11:10270 --ca ca.crt --server-name state-server.kpng-system.svc")
}
