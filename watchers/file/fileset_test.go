// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
)

func TestInvalidDocumentAffectsNoOtherObject(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.2")+"---\n"+service("three", "10.0.0.3"))
	r := run(t, dir, Config{Poll: time.Hour})
	require.Equal(t, 4, r.store.Snapshot().Len())

	t.Run("unknown field", func(t *testing.T) {
		put(t, a, service("one", "10.0.0.11")+"---\n"+service("two", "10.0.0.22")+"  portz: []\n---\n"+service("four", "10.0.0.4"))
		snap := r.await("the other objects", hasClusterIP("one", "10.0.0.11"))
		require.True(t, hasClusterIP("two", "10.0.0.22")(snap), "the other fields are used")
		require.Equal(t, []watchers.Problem{{Object: "Service default/two", Field: "spec.portz", Message: `unknown field "spec.portz"; ignored`}},
			snap.Service(id("two")).Problems)
		require.True(t, hasClusterIP("three", "")(snap), "every object of the file is known, so three is deleted")
		require.True(t, hasClusterIP("four", "10.0.0.4")(snap))
		r.awaitErrors(`/a.yaml:14: document 2: Service default/two: unknown field "spec.portz"; ignored`)
	})
	t.Run("wrong type", func(t *testing.T) {
		put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.2")+"  ports: 7\n---\n"+service("four", "10.0.0.44"))
		snap := r.await("the other objects", hasClusterIP("four", "10.0.0.44"))
		require.True(t, hasClusterIP("two", "10.0.0.22")(snap), "the invalid object keeps its last valid version")
		put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.22")+"---\n"+service("four", "10.0.0.4"))
		r.await("the other objects", hasClusterIP("four", "10.0.0.4"))
	})
	t.Run("not YAML", func(t *testing.T) {
		put(t, a, service("one", "10.0.0.1")+"---\n"+service("two", "10.0.0.33")+"  : : [\n---\n"+service("five", "10.0.0.5"))
		snap := r.await("the other objects", hasClusterIP("five", "10.0.0.5"))
		require.True(t, hasClusterIP("one", "10.0.0.1")(snap))
		require.True(t, hasClusterIP("two", "10.0.0.22")(snap))
		require.True(t, hasClusterIP("four", "")(snap), "deleted, because the invalid document is of another object")
		// The parser reports the line before the syntax error.
		r.awaitErrors("/a.yaml:13: document 2: Service default/two: yaml: line 13: did not find expected key; keeping the last valid version of Service default/two, which it may contain")
	})
	t.Run("corrected", func(t *testing.T) {
		put(t, a, service("two", "10.0.0.44"))
		snap := r.await("the corrected object", hasClusterIP("two", "10.0.0.44"))
		require.Equal(t, 2, snap.Len())
		r.awaitErrors()
		require.Equal(t, 2, r.logged("Manifests are valid again"), "once before, once now")
	})
	t.Run("other files", func(t *testing.T) {
		put(t, a, "kind: [")
		put(t, filepath.Join(dir, "b.yaml"), service("other", "10.0.0.9"))
		snap := r.await("the other file", hasClusterIP("other", "10.0.0.9"))
		require.True(t, hasClusterIP("two", "10.0.0.44")(snap))
	})
}

// TestMovedObjectKeepsLastValidVersion moves an object to another file in which it is
// invalid.
func TestMovedObjectKeepsLastValidVersion(t *testing.T) {
	invalidForms := map[string]string{
		"wrong type":    service("web", "10.0.0.9") + "  ports: 7\n",
		"not YAML":      service("web", "10.0.0.9") + "  : : [\n",
		"no cluster IP": "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n",
	}
	for form, invalid := range invalidForms {
		t.Run(form, func(t *testing.T) {
			dir := t.TempDir()
			a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yaml")
			put(t, a, service("web", "10.0.0.1")+"---\n"+service("beside", "10.0.0.2"))
			set := &fileSet{path: dir, decoder: newDecoder()}
			addresses := func() string {
				_, err := set.scan(t.Context(), true)
				require.NoError(t, err)
				objects, _ := set.merge()
				var all []string
				for _, o := range objects {
					svc := o.(*watchers.Service)
					all = append(all, svc.Name.Name+" "+svc.ClusterIP.String())
				}
				slices.Sort(all)
				return strings.Join(all, ", ")
			}
			require.Equal(t, "beside 10.0.0.2, web 10.0.0.1", addresses())
			put(t, b, invalid)
			require.Equal(t, "beside 10.0.0.2, web 10.0.0.1", addresses(), "still in the first file")
			put(t, a, service("web", "10.0.0.7"))
			require.Equal(t, "web 10.0.0.7", addresses(), "the first file is used")
			put(t, a, service("beside", "10.0.0.2"))
			require.Equal(t, "beside 10.0.0.2, web 10.0.0.7", addresses(), "deleted from the first file")
			require.NoError(t, os.Remove(a))
			require.Equal(t, "web 10.0.0.7", addresses(), "the first file is deleted")
			put(t, b, service("web", "10.0.0.9"))
			require.Equal(t, "web 10.0.0.9", addresses(), "corrected")
			require.NoError(t, os.Remove(b))
			require.Empty(t, addresses(), "deleted")
		})
	}
	t.Run("at once", func(t *testing.T) {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "b.yaml"), filepath.Join(dir, "a.yaml")
		put(t, a, service("web", "10.0.0.1"))
		r := run(t, dir, Config{Poll: time.Hour})
		put(t, b, invalidForms["wrong type"]+"---\n"+service("new", "10.0.0.3"))
		require.NoError(t, os.Remove(a))
		snap := r.await("the new file", hasClusterIP("new", "10.0.0.3"))
		require.True(t, hasClusterIP("web", "10.0.0.1")(snap))
	})
}

func TestFirstFileWins(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "b.yml")
	put(t, a, service("web", "10.0.0.1"))
	put(t, b, service("web", "10.0.0.2"))
	r := run(t, dir, Config{Poll: time.Hour})
	require.True(t, hasClusterIP("web", "10.0.0.1")(r.store.Snapshot()))
	r.awaitErrors("/b.yml:1: document 1: Service default/web: already defined in " + a + "; ignored")
	require.NoError(t, os.Remove(a))
	r.await("the object of the second file", hasClusterIP("web", "10.0.0.2"))
	r.awaitErrors()
}

func TestUnreadableFileKeepsItsObjects(t *testing.T) {
	dir := t.TempDir()
	a := filepath.Join(dir, "a.yaml")
	put(t, a, service("web", "10.0.0.1"))
	r := run(t, dir, Config{Poll: time.Hour})
	require.NoError(t, os.Remove(a))
	// A link to itself can be listed, but even root cannot read it.
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, ".new")))
	require.NoError(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "b.yaml")))
	r.await("the deletion of a.yaml", hasClusterIP("web", ""))
	require.Eventually(t, func() bool { return r.logged("b.yaml: cannot read file, keeping its last known objects") == 1 }, 20*time.Second, time.Millisecond)
	put(t, filepath.Join(dir, "b.yaml"), service("web", "10.0.0.2"))
	r.await("the readable file", hasClusterIP("web", "10.0.0.2"))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, ".new")))
	require.NoError(t, os.Rename(filepath.Join(dir, ".new"), filepath.Join(dir, "b.yaml")))
	require.Eventually(t, func() bool { return r.logged("b.yaml: cannot read file, keeping its last known objects") == 2 }, 20*time.Second, time.Millisecond)
	require.True(t, hasClusterIP("web", "10.0.0.2")(r.store.Snapshot()))
}
