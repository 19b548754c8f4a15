// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package file

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/watchers"
	"sigs.k8s.io/kpng/watchers/kubeapi"
	"sigs.k8s.io/kpng/watchers/watchertest"
)

func TestLaws(t *testing.T) {
	for name, pollOnly := range map[string]bool{"notifications": false, "polling": true} {
		t.Run(name, func(t *testing.T) {
			watchertest.TestWatcher(t, func(t *testing.T) watchertest.Harness {
				dir := t.TempDir()
				extend, err := kubeapi.CopyKeys("acme.example/*")
				require.NoError(t, err)
				w := mustNew(t, dir, Config{Extend: extend, Poll: time.Hour})
				if pollOnly {
					w = mustNew(t, dir, Config{Extend: extend, Poll: time.Millisecond})
					w.pollOnly = true
				}
				fileOf := func(o watchertest.APIObject) string {
					kind := o.GetObjectKind().GroupVersionKind().Kind
					return filepath.Join(dir, strings.Join([]string{kind, o.GetNamespace(), o.GetName(), "json"}, "."))
				}
				return watchertest.Harness{
					Watcher:    w,
					Annotation: "acme.example/mode",
					Apply: func(objects ...watchertest.APIObject) {
						for _, o := range objects {
							b, err := json.Marshal(o)
							require.NoError(t, err)
							put(t, fileOf(o), string(b))
						}
					},
					Delete: func(objects ...watchertest.APIObject) {
						for _, o := range objects {
							require.NoError(t, os.Remove(fileOf(o)))
						}
					},
				}
			})
		})
	}
}

// TestConfigMapVolume replaces files as a ConfigMap volume does: each file is a link through
// the link ..data, which is swapped to another directory.
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
		require.True(t, hasClusterIP("web", "10.0.0.1")(r.store.Snapshot()), name)
		defer r.await(name, hasClusterIP("web", "10.0.0.2"))
	}
	version("2", "10.0.0.2")
}

func TestDeletedPathKeepsStore(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "manifests")
	file := filepath.Join(dir, "a.yaml")
	for name, path := range map[string]string{"directory": dir, "file": file} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, mustNew(t, path, Config{}).Run(t.Context(), watchers.NewStore()), path)

			require.NoError(t, os.Mkdir(dir, 0o700))
			put(t, file, service("web", "10.0.0.1"))
			r := run(t, path, Config{Poll: 5 * time.Millisecond})
			require.NoError(t, os.Rename(dir, dir+".old"))
			require.Eventually(t, func() bool { return r.logged("cannot read path, keeping the last known objects") == 1 }, 20*time.Second, time.Millisecond)
			require.True(t, hasClusterIP("web", "10.0.0.1")(r.store.Snapshot()), "the store keeps its contents")

			require.NoError(t, os.Mkdir(dir, 0o700))
			put(t, file, service("web", "10.0.0.2"))
			r.await("the return of the path", hasClusterIP("web", "10.0.0.2"))
			r.awaitErrors()
			require.NoError(t, os.RemoveAll(dir+".old"))
			r.stop()
			require.NoError(t, os.RemoveAll(dir))
		})
	}
}

func TestNewValidatesConfig(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Config.Poll: -1s is negative":                                   {Poll: -time.Second},
		`Config.Filter: ProxyName "mine": must be empty with AllProxies`: {Filter: kubeapi.Filter{ProxyName: "mine", AllProxies: true}},
	} {
		_, err := New("manifests", cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := New("", Config{})
	require.ErrorContains(t, err, "path is empty")
}

// TestDetailsAndExtensionsOnRequest reads a headless Service with the manifests' own
// annotations.
func TestDetailsAndExtensionsOnRequest(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.yaml"), `
apiVersion: v1
kind: Service
metadata: {name: db, annotations: {acme.example/mode: dsr, other.example/x: "1"}}
spec: {clusterIP: None}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: db-x, labels: {kubernetes.io/service-name: db, service.kubernetes.io/headless: ""}}
addressType: IPv4
ports: [{port: 5432}]
endpoints: [{addresses: [10.1.0.1], hostname: db-0}]
`)
	require.Equal(t, 1, run(t, dir, Config{}).store.Snapshot().Len(), "only the synced marker")

	extend, err := kubeapi.CopyKeys("acme.example/*")
	require.NoError(t, err)
	snap := run(t, dir, Config{Filter: kubeapi.Filter{Details: kubeapi.DetailsAll}, Extend: extend}).store.Snapshot()
	name := watchers.ServiceName{Namespace: "default", Name: "db"}
	require.Equal(t, &watchers.ServiceDetails{Headless: true}, snap.Service(name).Details)
	mode, found := snap.Service(name).Extensions.Get("acme.example/mode")
	require.True(t, found)
	require.Equal(t, "dsr", mode)
	require.Equal(t, 1, snap.Service(name).Extensions.Len())
	for e := range snap.EndpointSlices(name) {
		require.Equal(t, []watchers.EndpointDetails{{Hostname: "db-0"}}, e.Details)
	}
	_, err = New(dir, Config{Filter: kubeapi.Filter{Details: 0x80}})
	require.EqualError(t, err, "watchers/file: Config.Filter: Details: 0x80 is unknown")
}
