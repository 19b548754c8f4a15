// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

func TestErrorNamesFileLineAndObject(t *testing.T) {
	const slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n  name: web-1\n"
	cases := []struct{ name, file, content, want string }{ // want is a prefix
		{"unknown field", "a.yaml", "# hello\n\n---\n# web\n" + service("web", "10.0.0.1") + "  ports:\n  - prot: 80\n", `a.yaml:12: document 1: Service default/web: unknown field "spec.ports[0].prot"`},
		{"unknown field at the top", "a.yaml", service("web", "10.0.0.1") + "statuz: {}\n", `a.yaml:7: document 1: Service default/web: unknown field "statuz"`},
		{"unknown field in JSON", "a.json", "{\n\"apiVersion\": \"v1\", \"kind\": \"Node\",\n\"metadata\": {\"name\": \"n\"},\n\"spek\": {}}", `a.json:4: document 1: Node n: unknown field "spek"`},
		{"duplicate field", "a.yaml", service("web", "10.0.0.1") + "  clusterIP: 10.0.0.2\n", `a.yaml:7: document 1: Service default/web: duplicate field "spec.clusterIP"; the last one counts`},
		{"duplicate field in JSON", "a.json", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"kind":"Node"}`, `a.json:1: document 1: Node n: duplicate field "kind"`},
		{"wrong type", "a.yaml", service("web", "[1]"), `a.yaml:1: document 1: Service default/web: json: cannot unmarshal array`},
		{"wrong case", "a.yaml", "Kind: Node\napiVersion: v1\n", `a.yaml:1: document 1: apiVersion or kind is missing`},
		{"no kind", "a.yaml", "---\nmetadata: {name: x}\n", `a.yaml:2: document 1: apiVersion or kind is missing`},
		{"no name", "a.yaml", "kind: Service\napiVersion: v1\n", `a.yaml:1: document 1: Service: metadata.name is missing`},
		{"not an object", "a.yaml", "--- hello\n", `a.yaml:1: document 1: not a Kubernetes object: "hello"`},
		{"no Service label", "a.yaml", slice, `a.yaml:1: document 1: EndpointSlice default/web-1: metadata.labels: kubernetes.io/service-name is missing; the slice is ignored`},
		{"list with unknown field", "a.yaml", "kind: List\napiVersion: v1\nitemz: []\n", `a.yaml:3: document 1: List: unknown field "itemz"`},
		{"item with unknown field", "a.yaml", "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata:\n    nane: n1\n    name: n1\n", `a.yaml:7: document 1: items[0]: Node n1: unknown field "metadata.nane"`},
		{"empty JSON object before a syntax error", "a.json", "{}\n{\"a\": 1,\n]", `a.json:1: document 1: apiVersion or kind is missing`},
		{"JSON syntax error", "a.json", "{\"a\": 1,\n]", `a.json:2: document 1: invalid character`},
		{"duplicate object in a file", "a.yaml", service("web", "10.0.0.1") + "---\n" + service("web", "10.0.0.2"), `a.yaml:8: document 2: Service default/web: already defined in this file; ignored`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, c.file), c.content)
			put(t, filepath.Join(dir, "z.yaml"), service("other", "10.0.0.9"))
			var errs []*Error
			ctx, cancel := context.WithCancel(t.Context())
			store := watchers.NewStore()
			w := mustNew(t, dir, Config{OnErrors: func(e []*Error) { errs = e; cancel() }})
			require.NoError(t, w.Run(ctx, store))
			require.NotEmpty(t, errs)
			got := strings.TrimPrefix(errs[0].Error(), dir+"/")
			require.True(t, strings.HasPrefix(got, c.want), "got  %s\nwant %s", got, c.want)
			require.True(t, store.Snapshot().Synced())
			require.True(t, hasClusterIP("other", "10.0.0.9")(store.Snapshot()), "other objects are not affected")
		})
	}
}

func TestManifestFormats(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "list.yaml"), `
kind: List
apiVersion: v1
items:
- {apiVersion: v1, kind: Service, metadata: {name: a}, spec: {clusterIP: 10.0.0.1, ports: [{port: 80}]}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: c}}
--- # another
{"kind": "ServiceList", "apiVersion": "v1", "items": [{"metadata": {"namespace": "x", "name": "b"}, "spec": {"clusterIPs": ["2001:db8::1", "10.0.0.2"]}}]}
---
# nothing
---
kind: ConfigMap
apiVersion: v1
---
kind: Deployment
apiVersion: apps/v1
...
`)
	put(t, filepath.Join(dir, "stream.json"), `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n","namespace":"odd"}}
		{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","addressType":"IPv4","metadata":{"name":"a-1","labels":{"kubernetes.io/service-name":"a"}},
		 "ports":[{"port":8080}],"endpoints":[{"addresses":["10.1.0.1"]}]}`)
	put(t, filepath.Join(dir, "filtered.yaml"), service("none", "None")+"---\n"+
		strings.Replace(service("other-proxy", "10.0.0.9"), "name:", "labels: {"+kubeapi.LabelProxyName+": x}\n  name:", 1))
	put(t, filepath.Join(dir, "README.md"), "not read")
	put(t, filepath.Join(dir, ".hidden.yaml"), "not: [read")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700))

	r := run(t, dir, Config{Poll: time.Hour})
	r.stop()
	r.awaitErrors()
	snap := r.store.Snapshot()
	require.Equal(t, 4+1, snap.Len())
	a := snap.Service(id("a"))
	require.Equal(t, "[10.0.0.1]", sprint(a.ClusterIPs), "clusterIPs defaults to clusterIP")
	require.Equal(t, []watchers.IPFamily{4}, a.IPFamilies)
	require.Equal(t, "TCP", a.Ports[0].Protocol.String())
	require.Equal(t, watchers.PolicyCluster, a.InternalPolicy)
	b := snap.Service(watchers.ServiceName{Namespace: "x", Name: "b"})
	require.Equal(t, "2001:db8::1", b.ClusterIP.String(), "clusterIP defaults to clusterIPs[0]")
	require.Equal(t, []watchers.IPFamily{6, 4}, b.IPFamilies)
	require.NotNil(t, snap.Node("n"))
	for e := range snap.EndpointSlices(id("a")) {
		require.Equal(t, "default", e.Namespace)
		require.Len(t, e.Ports, 1, "a port without a name gets the empty name")
		require.Len(t, e.Endpoints, 1)
	}
	all := run(t, dir, Config{Poll: time.Hour, Filter: kubeapi.Filter{AllProxies: true}})
	all.stop()
	require.Equal(t, "x", *all.store.Snapshot().Service(id("other-proxy")).ProxyName)
	require.Equal(t, 1, r.logged("kind=ConfigMap"), "logged once per kind")
	require.Equal(t, 1, r.logged("kind=Deployment"))
}

func sprint(v any) string {
	b, _ := json.Marshal(v)
	return strings.ReplaceAll(string(b), `"`, "")
}

// FuzzDecode decodes arbitrary content: it ends, and each error has a line of the file.
func FuzzDecode(f *testing.F) {
	f.Add("a.yaml", []byte(service("web", "10.0.0.1")+"---\n"+service("two", "x")+"  portz: 1\n"))
	f.Add("a.yaml", []byte("--- {a\n...\n---\nkind: List\napiVersion: v1\nitems: [{}, 1]"))
	f.Add("a.json", []byte(`{"kind":"List","apiVersion":"v1","items":[null]} {`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		d := newDecoder()
		c := d.decode(name, data)
		text, _ := normalize(data)
		lines := 1 + countLines(text)
		errs := c.notes
		for _, e := range c.entries {
			if e.err != nil {
				errs = append(errs, e.err)
			}
		}
		for _, e := range errs {
			require.Equal(t, name, e.File)
			require.GreaterOrEqual(t, e.Line, 1)
			require.LessOrEqual(t, e.Line, lines+1)
			require.Error(t, e.Err)
		}
	})
}
