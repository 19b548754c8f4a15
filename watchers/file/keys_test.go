// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

// TestLastKeyCounts has keys that replace others. Of problems it names the fields and
// lines.
func TestLastKeyCounts(t *testing.T) {
	const head = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n" // lines 1 to 3
	const base = "x: &base {clusterIP: 10.0.0.9, type: NodePort}\n"
	for _, c := range []struct{ name, file, content, ip, problems string }{
		{"duplicate field", "f.yaml", head + "spec:\n  clusterIP: 10.0.0.9\n  clusterIP: 10.0.0.1\n", "10.0.0.1", "6 spec.clusterIP"},
		{"duplicate object field", "f.yaml", head + "spec: {type: NodePort, clusterIP: 10.0.0.9}\nspec: {clusterIP: 10.0.0.1}\n", "10.0.0.1", "5 spec"},
		{"duplicate field in a list", "f.yaml", head + "spec:\n  clusterIP: 10.0.0.1\n  ports:\n  - port: 1\n    port: 80\n", "10.0.0.1", "8 spec.ports[0].port"},
		{"three times", "f.yaml", head + "spec:\n  clusterIP: a\n  clusterIP: b\n  clusterIP: 10.0.0.1\n", "10.0.0.1", "6 spec.clusterIP,7 spec.clusterIP"},
		{"duplicate object field in JSON", "f.json", "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"},\n" +
			"\t\"spec\":{\"type\":\"NodePort\",\"clusterIP\":\"10.0.0.9\"},\n\t\"spec\":{\"clusterIP\":\"10.0.0.1\"}}", "10.0.0.1", "3 spec"},
		{"duplicate field in an item", "f.json", "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[\n" + strings.Replace(jsonService("a", "10.0.0.1"), `"clusterIP"`, "\n\"clusterIP\":\"10.0.0.9\",\n\"clusterIP\"", 1) + "]}",
			"10.0.0.1", "4 spec.clusterIP"},
		{"override after a merge key", "f.yaml", head + base + "spec:\n  <<: *base\n  clusterIP: 10.0.0.1\n  type: ClusterIP\n", "10.0.0.1", "4 x"},
		{"merge key after the field", "f.yaml", head + base + "spec:\n  type: ClusterIP\n  clusterIP: 10.0.0.1\n  <<: *base\n", "10.0.0.9", "8 spec.clusterIP,8 spec.type,4 x"},
		{"list of merged mappings", "f.yaml", head + base + "spec:\n  <<: [{clusterIP: 10.0.0.1}, *base]\n", "10.0.0.1", "4 x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScanner(t)
			s.put(c.file, c.content)
			_, err := s.set.scan(t.Context(), true)
			require.NoError(t, err)
			objects, errs := s.set.merge()
			require.Len(t, objects, 1, "%v", errs)
			svc := objects[0].(*watchers.Service)
			require.Equal(t, c.ip, svc.ClusterIP.String())
			var fields, lines []string
			for _, p := range svc.Problems {
				fields = append(fields, p.Field)
				require.Equal(t, "Service default/a", p.Object)
				require.NotEmpty(t, p.Message)
			}
			for want := range strings.SplitSeq(c.problems, ",") {
				line, field, _ := strings.Cut(want, " ")
				require.Contains(t, fields, field)
				lines = append(lines, line)
			}
			require.Len(t, fields, len(lines), "%v", svc.Problems)
			for _, e := range errs {
				require.Contains(t, strings.Join(lines, " "), strings.TrimSpace(strings.Split(e.Error(), ":")[1]), "%v", e)
			}
		})
	}
}

func TestErrorsNameListItems(t *testing.T) {
	const list = `apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: a}
  spec: {clusterIP: 10.0.0.1}
- apiVersion: v1
  kind: List
  items:
  - apiVersion: v1
    kind: Service
    metadata: {name: x}
    spec:
      clusterIP: []
  - {apiVersion: v1, kind: Service}
  - apiVersion: v1
    kind: Service
    metadata:
      name: b
    spec:
      clusterIP: 10.0.0.2
      ports:
      - port: 80
        prot: 81
---
- 7
`
	s := newScanner(t)
	s.put("f.yaml", list)
	objects, errs := s.scan()
	require.Equal(t, []string{serviceA, serviceB}, objects)
	require.Len(t, errs, 4)
	for i, want := range []string{
		"f.yaml:11: document 1: items[1].items[0]: Service default/x: json: cannot unmarshal array",
		"f.yaml:16: document 1: items[1].items[1]: Service: metadata.name is missing",
		`f.yaml:25: document 1: items[1].items[2]: Service default/b: unknown field "spec.ports[0].prot"; ignored`,
		"f.yaml:27: document 2: [0]: not a Kubernetes object: 7",
	} {
		require.True(t, strings.HasPrefix(errs[i], want), "got  %s\nwant %s", errs[i], want)
	}
}

// TestFilesOfOtherToolsAreNotRead has a chart and a kustomization in the directory.
func TestFilesOfOtherToolsAreNotRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"Chart.yaml", "values.yaml", "values.schema.json", "kustomization.yaml", "kustomization.yml", "Kustomization",
		"_helpers.tpl", "Chart.lock", "a.yaml~", "a.yaml.bak", "#a.yaml#", ".#a.yaml", ".a.yaml.swp", ".hidden.yaml", "README.md"} {
		put(t, filepath.Join(dir, name), "replicaCount: [")
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "templates.yaml"), 0o700))
	put(t, filepath.Join(dir, "a.yaml"), service("a", "10.0.0.1"))
	r := run(t, dir, Config{Poll: time.Hour})
	r.stop()
	r.awaitErrors()
	require.Zero(t, r.logged("\n"), "%s", &r.log)
	require.Equal(t, 1+1, r.store.Snapshot().Len())

	named := run(t, filepath.Join(dir, "values.yaml"), Config{Poll: time.Hour})
	named.stop()
	require.Equal(t, 1, named.logged("did not find expected"), "a file that is named itself is read")
}

// TestEndpointsOfOldVersionsAreReported logs a warning once for each kind that looks as if
// it were used.
func TestEndpointsOfOldVersionsAreReported(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.yaml", "b.yaml"} {
		put(t, filepath.Join(dir, name), `
{apiVersion: v1, kind: Endpoints, metadata: {name: a}}
---
{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, metadata: {name: a}}
---
{apiVersion: v1, kind: EndpointsList, items: []}
---
{apiVersion: networking.k8s.io/v1beta1, kind: ServiceCIDR, metadata: {name: a}}
---
{apiVersion: serving.knative.dev/v1, kind: Service, metadata: {name: a}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}}
`)
	}
	r := run(t, dir, Config{Poll: time.Hour})
	r.stop()
	r.awaitErrors()
	require.Equal(t, 3, r.logged("level=WARN"), "%s", &r.log)
	require.Equal(t, 1, r.logged(`kind=Endpoints `))
	require.Equal(t, 1, r.logged("apiVersion=discovery.k8s.io/v1beta1 kind=EndpointSlice"))
	require.Equal(t, 2, r.logged(`use="discovery.k8s.io/v1 EndpointSlice"`))
	require.Equal(t, 1, r.logged(`use="networking.k8s.io/v1 ServiceCIDR"`))
	require.Equal(t, 2, r.logged("level=INFO"))
}
