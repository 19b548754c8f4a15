// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/maphash"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

// put replaces a file at once, as editors do.
func put(t testing.TB, name, content string) {
	t.Helper()
	temporary := filepath.Join(filepath.Dir(name), ".new")
	require.NoError(t, os.WriteFile(temporary, []byte(content), 0o600))
	require.NoError(t, os.Rename(temporary, name))
}

func TestLaws(t *testing.T) {
	for name, pollOnly := range map[string]bool{"notified": false, "polling": true} {
		t.Run(name, func(t *testing.T) {
			watchertest.Test(t, func(t *testing.T) watchertest.Harness {
				dir := t.TempDir()
				w := New(dir, Config{Poll: time.Hour})
				if pollOnly {
					w = New(dir, Config{Poll: time.Millisecond})
					w.pollOnly = true
				}
				fileOf := func(o watchertest.Object) string {
					kind := o.GetObjectKind().GroupVersionKind().Kind
					return filepath.Join(dir, strings.Join([]string{kind, o.GetNamespace(), o.GetName(), "json"}, "."))
				}
				return watchertest.Harness{
					Watcher: w,
					Apply: func(objects ...watchertest.Object) {
						for _, o := range objects {
							b, err := json.Marshal(o)
							require.NoError(t, err)
							put(t, fileOf(o), string(b))
						}
					},
					Delete: func(objects ...watchertest.Object) {
						for _, o := range objects {
							require.NoError(t, os.Remove(fileOf(o)))
						}
					},
				}
			})
		})
	}
}

// A runner is a watcher at work, and what it has to say.
type runner struct {
	t     testing.TB
	store *watchers.Store
	stop  func()

	mu     sync.Mutex
	errors []string
	log    bytes.Buffer
	told   chan struct{} // closed when errors change
}

func (r *runner) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *runner) logged(s string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Count(r.log.String(), s)
}

func run(t testing.TB, path string, config Config) *runner {
	t.Helper()
	before := goleak.IgnoreCurrent()
	r := &runner{t: t, store: watchers.NewStore(), told: make(chan struct{})}
	config.Logger = slog.New(slog.NewTextHandler(r, nil))
	config.OnErrors = func(errs []*Error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.errors = nil
		for _, e := range errs {
			r.errors = append(r.errors, strings.TrimPrefix(e.Error(), path))
		}
		close(r.told)
		r.told = make(chan struct{})
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(path, config).Run(ctx, r.store) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
		goleak.VerifyNone(t, before)
	})
	t.Cleanup(r.stop)
	r.await("the first reading", watchers.Snapshot.Synced)
	return r
}

func (r *runner) await(what string, ok func(watchers.Snapshot) bool) watchers.Snapshot {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		snap := r.store.Snapshot()
		if ok(snap) {
			return snap
		}
		select {
		case <-snap.Newer():
		case <-deadline:
			require.FailNow(r.t, "timeout", "waiting for %s", what)
		}
	}
}

// awaitErrors waits until these errors, and no others, have been told.
func (r *runner) awaitErrors(want ...string) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		r.mu.Lock()
		got, told := r.errors, r.told
		r.mu.Unlock()
		if len(got) == len(want) && strings.Join(got, "\n") == strings.Join(want, "\n") {
			return
		}
		select {
		case <-told:
		case <-deadline:
			require.FailNow(r.t, "timeout", "the errors are\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func id(name string) watchers.ServiceName {
	return watchers.ServiceName{Namespace: "default", Name: name}
}

// at is the condition that a Service has an address; "" is for no such Service.
func at(name, ip string) func(watchers.Snapshot) bool {
	return func(s watchers.Snapshot) bool {
		svc := s.Service(id(name))
		if svc == nil {
			return ip == ""
		}
		return svc.ClusterIP.String() == ip
	}
}

func service(name, ip string) string {
	return "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\nspec:\n  clusterIP: " + ip + "\n"
}

func TestBrokenDocumentHarmsNothingElse(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.2")+"---\n"+service("three", "10.0.0.3"))
	r := run(t, dir, Config{Poll: time.Hour})
	require.Equal(t, 4, r.store.Snapshot().Len())

	t.Run("unknown field", func(t *testing.T) {
		put(t, a, service("one", "10.0.0.11")+"---\n"+service("two", "10.0.0.22")+"  portz: []\n---\n"+service("four", "10.0.0.4"))
		snap := r.await("the rest", at("one", "10.0.0.11"))
		require.True(t, at("two", "10.0.0.22")(snap), "the rest of it counts")
		require.Equal(t, []watchers.Problem{{Object: "Service default/two", Field: "spec.portz", Message: `unknown field "spec.portz"; ignored`}},
			snap.Service(id("two")).Problems)
		require.True(t, at("three", "")(snap), "it is known not to be the broken one")
		require.True(t, at("four", "10.0.0.4")(snap))
		r.awaitErrors(`/a.yaml:14: Service default/two: unknown field "spec.portz"`)
	})
	t.Run("wrong type", func(t *testing.T) {
		put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.2")+"  ports: 7\n---\n"+service("four", "10.0.0.44"))
		snap := r.await("the rest", at("four", "10.0.0.44"))
		require.True(t, at("two", "10.0.0.22")(snap), "the last good state of the broken one")
		put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.22")+"---\n"+service("four", "10.0.0.4"))
		r.await("the rest", at("four", "10.0.0.4"))
	})
	t.Run("not YAML", func(t *testing.T) {
		put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.33")+"  : : [\n---\n"+service("five", "10.0.0.5"))
		snap := r.await("the rest", at("five", "10.0.0.5"))
		require.True(t, at("one", "10.0.0.1")(snap))
		require.True(t, at("two", "10.0.0.22")(snap))
		require.True(t, at("four", "10.0.0.4")(snap), "nobody knows whether it is the broken one")
		// The parser names the line before the one that it stumbles over.
		r.awaitErrors("/a.yaml:13: Service default/two: yaml: line 13: did not find expected key")
	})
	t.Run("mended", func(t *testing.T) {
		put(t, a, service("two", "10.0.0.44"))
		snap := r.await("the mended one", at("two", "10.0.0.44"))
		require.Equal(t, 2, snap.Len())
		r.awaitErrors()
		require.Equal(t, 2, r.logged("all manifests can be used again"), "now, and before")
	})
	t.Run("other files", func(t *testing.T) {
		put(t, a, "kind: [")
		put(t, filepath.Join(dir, "b.yaml"), service("other", "10.0.0.9"))
		snap := r.await("the other file", at("other", "10.0.0.9"))
		require.True(t, at("two", "10.0.0.44")(snap))
	})
}

// TestMovedWhileBroken: what was last known of an object outlives its move to a file in
// which it is broken.
func TestMovedWhileBroken(t *testing.T) {
	brokenForms := map[string]string{
		"wrong type": service("web", "10.0.0.9") + "  ports: 7\n",
		"not YAML":   service("web", "10.0.0.9") + "  : : [\n",
		"incomplete": "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n",
	}
	for form, broken := range brokenForms {
		t.Run(form, func(t *testing.T) {
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
			put(t, a, service("web", "10.0.0.1")+"---\n"+service("beside", "10.0.0.2"))
			tr := &tree{path: dir, seed: maphash.MakeSeed(), decoder: &decoder{logger: slog.New(slog.DiscardHandler), ignored: map[string]bool{}}}
			addresses := func() string {
				require.NoError(t, tr.scan(true))
				facts, _ := tr.wanted()
				var all []string
				for _, f := range facts {
					svc := f.(*watchers.Service)
					all = append(all, svc.Name.Name+" "+svc.ClusterIP.String())
				}
				slices.Sort(all)
				return strings.Join(all, ", ")
			}
			require.Equal(t, "beside 10.0.0.2, web 10.0.0.1", addresses())
			put(t, b, broken)
			require.Equal(t, "beside 10.0.0.2, web 10.0.0.1", addresses(), "still in the first file")
			put(t, a, service("web", "10.0.0.7"))
			require.Equal(t, "web 10.0.0.7", addresses(), "the first file counts")
			put(t, a, service("beside", "10.0.0.2"))
			require.Equal(t, "beside 10.0.0.2, web 10.0.0.7", addresses(), "gone from the first file")
			require.NoError(t, os.Remove(a))
			require.Equal(t, "web 10.0.0.7", addresses(), "and with it the first file")
			put(t, b, service("web", "10.0.0.9"))
			require.Equal(t, "web 10.0.0.9", addresses(), "mended")
			require.NoError(t, os.Remove(b))
			require.Equal(t, "", addresses(), "gone")
		})
	}
	t.Run("at once", func(t *testing.T) {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "b.yaml"), filepath.Join(dir, "a.yaml")
		put(t, a, service("web", "10.0.0.1"))
		r := run(t, dir, Config{Poll: time.Hour})
		put(t, b, brokenForms["wrong type"]+"---\n"+service("new", "10.0.0.3"))
		require.NoError(t, os.Remove(a))
		snap := r.await("the new file", at("new", "10.0.0.3"))
		require.True(t, at("web", "10.0.0.1")(snap))
	})
}

func TestErrors(t *testing.T) {
	const slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n  name: web-1\n"
	cases := []struct{ name, file, content, want string }{
		{"unknown field", "a.yaml", "# hello\n\n---\n# web\n" + service("web", "10.0.0.1") + "  ports:\n  - prot: 80\n", `a.yaml:12: Service default/web: unknown field "spec.ports[0].prot"`},
		{"unknown field at the top", "a.yaml", service("web", "10.0.0.1") + "statuz: {}\n", `a.yaml:7: Service default/web: unknown field "statuz"`},
		{"unknown field in JSON", "a.json", "{\n\"apiVersion\": \"v1\", \"kind\": \"Node\",\n\"metadata\": {\"name\": \"n\"},\n\"spek\": {}}", `a.json:4: Node n: unknown field "spek"`},
		{"field twice", "a.yaml", service("web", "10.0.0.1") + "  clusterIP: 10.0.0.2\n", `a.yaml:7: Service default/web: `},
		{"field twice in JSON", "a.json", `{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"},"kind":"Node"}`, `a.json:1: Node n: duplicate field "kind"`},
		{"wrong type", "a.yaml", service("web", "[1]"), `a.yaml:1: Service default/web: json: cannot unmarshal array`},
		{"wrong case", "a.yaml", "Kind: Node\napiVersion: v1\n", `a.yaml:1: apiVersion or kind is missing`},
		{"no kind", "a.yaml", "---\nmetadata: {name: x}\n", `a.yaml:2: apiVersion or kind is missing`},
		{"no name", "a.yaml", "kind: Service\napiVersion: v1\n", `a.yaml:1: Service: metadata.name is missing`},
		{"no object", "a.yaml", "--- hello\n", `a.yaml:1: not a Kubernetes object: `},
		{"no Service", "a.yaml", slice, `a.yaml:1: EndpointSlice default/web-1: metadata.labels: kubernetes.io/service-name is missing; the slice is ignored`},
		{"list with unknown field", "a.yaml", "kind: List\napiVersion: v1\nitemz: []\n", `a.yaml:3: List: unknown field "itemz"`},
		{"item with unknown field", "a.yaml", "kind: List\napiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Node\n  metadata:\n    nane: n1\n    name: n1\n", `a.yaml:7: Node n1: unknown field "metadata.nane"`},
		{"broken JSON", "a.json", "{}\n{\"a\": 1,\n]", `a.json:1: apiVersion or kind is missing`},
		{"twice in a file", "a.yaml", service("web", "10.0.0.1") + "---\n" + service("web", "10.0.0.2"), `a.yaml:8: Service default/web: is in this file already; ignored`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, c.file), c.content)
			put(t, filepath.Join(dir, "z.yaml"), service("other", "10.0.0.9"))
			var errs []*Error
			ctx, cancel := context.WithCancel(t.Context())
			store := watchers.NewStore()
			w := New(dir, Config{OnErrors: func(e []*Error) { errs = e; cancel() }})
			require.NoError(t, w.Run(ctx, store))
			require.NotEmpty(t, errs)
			got := strings.TrimPrefix(errs[0].Error(), dir+"/")
			require.True(t, strings.HasPrefix(got, c.want), "got  %s\nwant %s", got, c.want)
			require.True(t, store.Snapshot().Synced())
			require.True(t, at("other", "10.0.0.9")(store.Snapshot()), "nothing else is harmed")
		})
	}
}

func TestFirstFileWins(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yml")
	put(t, a, service("web", "10.0.0.1"))
	put(t, b, service("web", "10.0.0.2"))
	r := run(t, dir, Config{Poll: time.Hour})
	require.True(t, at("web", "10.0.0.1")(r.store.Snapshot()))
	r.awaitErrors("/b.yml:1: Service default/web: is in " + a + " already; ignored")
	require.NoError(t, os.Remove(a))
	r.await("the other one", at("web", "10.0.0.2"))
	r.awaitErrors()
}

// ConfigMap volumes swap a link to a directory that the links to files go through.
func TestConfigMapVolume(t *testing.T) {
	dir := t.TempDir()
	version := func(n, ip string) {
		require.NoError(t, os.Mkdir(filepath.Join(dir, "..v"+n), 0o700))
		put(t, filepath.Join(dir, "..v"+n, "a.yaml"), service("web", ip))
		require.NoError(t, os.Symlink("..v"+n, filepath.Join(dir, "..data_tmp")))
		require.NoError(t, os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")))
	}
	version("1", "10.0.0.1")
	require.NoError(t, os.Symlink("..data/a.yaml", filepath.Join(dir, "a.yaml")))
	for name, path := range map[string]string{"directory": dir, "file": filepath.Join(dir, "a.yaml")} {
		r := run(t, path, Config{Poll: time.Hour})
		require.True(t, at("web", "10.0.0.1")(r.store.Snapshot()), name)
		defer r.await(name, at("web", "10.0.0.2"))
	}
	version("2", "10.0.0.2")
}

func TestPathVanishes(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "manifests")
	file := filepath.Join(dir, "a.yaml")
	for name, path := range map[string]string{"directory": dir, "file": file} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, New(path, Config{}).Run(t.Context(), watchers.NewStore()), path)

			require.NoError(t, os.Mkdir(dir, 0o700))
			put(t, file, service("web", "10.0.0.1"))
			r := run(t, path, Config{Poll: 5 * time.Millisecond})
			require.NoError(t, os.Rename(dir, dir+".old"))
			require.Eventually(t, func() bool { return r.logged("out of reach") == 1 }, 20*time.Second, time.Millisecond)
			require.True(t, at("web", "10.0.0.1")(r.store.Snapshot()), "what is known is kept")

			require.NoError(t, os.Mkdir(dir, 0o700))
			put(t, file, service("web", "10.0.0.2"))
			r.await("the path to be back", at("web", "10.0.0.2"))
			r.awaitErrors()
			require.NoError(t, os.RemoveAll(dir+".old"))
			r.stop()
			require.NoError(t, os.RemoveAll(dir))
		})
	}
}

// A directory that is replaced must be notified of as the old one was.
func TestNotifierFollowsTheName(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "manifests")
	require.NoError(t, os.Mkdir(dir, 0o700))
	n := newNotifier(dir, false, slog.New(slog.DiscardHandler))
	defer n.close()
	require.False(t, n.renew())
	require.NoError(t, os.RemoveAll(dir))
	require.False(t, n.renew())
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.Eventually(t, n.renew, 20*time.Second, time.Millisecond)
	for empty := false; !empty; {
		select {
		case <-n.changed():
		default:
			empty = true
		}
	}
	put(t, filepath.Join(dir, "a.yaml"), "")
	select {
	case <-n.changed():
	case <-time.After(20 * time.Second):
		require.FailNow(t, "not notified")
	}
}

func TestUnreadableFileKeepsItsState(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	put(t, a, service("web", "10.0.0.1"))
	r := run(t, dir, Config{Poll: time.Hour})
	require.NoError(t, os.Remove(a))
	// A link to itself can be listed, and not read, not even by root.
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, ".new")))
	require.NoError(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "b.yaml")))
	r.await("the end of a.yaml", at("web", ""))
	require.Eventually(t, func() bool { return r.logged("b.yaml: cannot be read; keeping what is known") == 1 }, 20*time.Second, time.Millisecond)
	put(t, filepath.Join(dir, "b.yaml"), service("web", "10.0.0.2"))
	r.await("a readable file", at("web", "10.0.0.2"))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, ".new")))
	require.NoError(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "b.yaml")))
	require.Eventually(t, func() bool { return r.logged("b.yaml: cannot be read; keeping what is known") == 2 }, 20*time.Second, time.Millisecond)
	require.True(t, at("web", "10.0.0.2")(r.store.Snapshot()))
}

func TestContents(t *testing.T) {
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
		strings.Replace(service("theirs", "10.0.0.9"), "name:", "labels: {"+kubeapi.LabelProxyName+": x}\n  name:", 1))
	put(t, filepath.Join(dir, "README.md"), "not read")
	put(t, filepath.Join(dir, ".hidden.yaml"), "not: [read")
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700))

	r := run(t, dir, Config{Poll: time.Hour})
	r.stop()
	r.awaitErrors()
	snap := r.store.Snapshot()
	require.Equal(t, 4+1, snap.Len())
	a := snap.Service(id("a"))
	require.Equal(t, "[10.0.0.1]", sprint(a.ClusterIPs), "clusterIPs of clusterIP")
	require.Equal(t, []watchers.IPFamily{4}, a.IPFamilies)
	require.Equal(t, "TCP", a.Ports[0].Protocol.String())
	require.Equal(t, watchers.PolicyCluster, a.InternalPolicy)
	b := snap.Service(watchers.ServiceName{Namespace: "x", Name: "b"})
	require.Equal(t, "2001:db8::1", b.ClusterIP.String(), "clusterIP of clusterIPs")
	require.Equal(t, []watchers.IPFamily{6, 4}, b.IPFamilies)
	require.NotNil(t, snap.Node("n"))
	for e := range snap.EndpointSlices(id("a")) {
		require.Equal(t, "default", e.Namespace)
		require.Len(t, e.Ports, 1, "a port without a name has the empty one")
		require.Len(t, e.Endpoints, 1)
	}
	all := run(t, dir, Config{Poll: time.Hour, Filter: kubeapi.Filter{AllProxies: true}})
	all.stop()
	require.Equal(t, "x", *all.store.Snapshot().Service(id("theirs")).ProxyName)
	require.Equal(t, 1, r.logged("kind=ConfigMap"), "once for each kind")
	require.Equal(t, 1, r.logged("kind=Deployment"))
}

func sprint(v any) string {
	b, _ := json.Marshal(v)
	return strings.ReplaceAll(string(b), `"`, "")
}

// Whatever a file holds, reading it ends, and what is broken has a place.
func FuzzDecode(f *testing.F) {
	f.Add("a.yaml", []byte(service("web", "10.0.0.1")+"---\n"+service("two", "x")+"  portz: 1\n"))
	f.Add("a.yaml", []byte("--- {a\n...\n---\nkind: List\napiVersion: v1\nitems: [{}, 1]"))
	f.Add("a.json", []byte(`{"kind":"List","apiVersion":"v1","items":[null]} {`))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		d := decoder{logger: slog.New(slog.DiscardHandler), ignored: map[string]bool{}}
		c := d.decode(name, data)
		lines := 1 + bytes.Count(data, []byte{'\n'})
		for _, o := range c.objects {
			if o.err != nil {
				c.errs = append(c.errs, o.err)
			}
		}
		for _, e := range append(c.errs, c.misfits...) {
			require.Equal(t, name, e.File)
			require.GreaterOrEqual(t, e.Line, 1)
			require.LessOrEqual(t, e.Line, lines+1)
			require.Error(t, e.Err)
		}
	})
}
