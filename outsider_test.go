// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kpng_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOtherModulesCanBuildBackends builds examples/custom-backend as a separate module that
// requires this one, as a vendor would.
func TestOtherModulesCanBuildBackends(t *testing.T) {
	sources, err := filepath.Glob("examples/custom-backend/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, sources)
	files := map[string]string{}
	for _, file := range sources {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		files[filepath.Base(file)] = string(data)
	}
	m := newOutsideModule(t, files)
	m.run("build", "-o", os.DevNull, ".")
	require.Contains(t, m.read("go.mod"), "\ngo 1.26.0\n", "the library must not raise the Go version of its users")
}

// TestOtherModulesGetNothingOfTheDropIn checks what a module that imports the library for
// Services, the API server and nftables compiles and vendors: none of what only the packages for
// the drop-in need.
func TestOtherModulesGetNothingOfTheDropIn(t *testing.T) {
	m := newOutsideModule(t, map[string]string{"main.go": `package main

import (
	_ "sigs.k8s.io/kpng/backends/nftables"
	_ "sigs.k8s.io/kpng/nodelocal"
	_ "sigs.k8s.io/kpng/watchers/kube"
)

func main() {}
`})
	m.run("build", "-o", os.DevNull, ".") // completes go.mod
	m.run("mod", "vendor")
	vendored := m.read("vendor/modules.txt")
	require.Contains(t, vendored, "# k8s.io/client-go ")
	for _, excluded := range []string{
		"k8s.io/kube-proxy", "k8s.io/component-base", "github.com/spf13/pflag", "github.com/spf13/cobra", "github.com/fsnotify/fsnotify",
		"go.opentelemetry.io/otel", "github.com/prometheus/client_golang", "github.com/blang/semver/v4",
		"github.com/envoyproxy/go-control-plane/envoy",
	} {
		require.NotContains(t, vendored, "# "+excluded+" ")
	}
}

// TestOtherModulesDownloadNoCommandLine checks which modules the go command downloads for a module
// that imports sources, sinks and both ends of gRPC: not those of the command line.
func TestOtherModulesDownloadNoCommandLine(t *testing.T) {
	m := newOutsideModule(t, map[string]string{"main.go": `package main

import (
	_ "sigs.k8s.io/kpng/backends/nftables"
	_ "sigs.k8s.io/kpng/nodelocal"
	_ "sigs.k8s.io/kpng/remote/cluster"
	_ "sigs.k8s.io/kpng/remote/execsink"
	_ "sigs.k8s.io/kpng/remote/execsource"
	_ "sigs.k8s.io/kpng/remote/node"
	_ "sigs.k8s.io/kpng/watchers/kube"
)

func main() {}
`})
	cache := t.TempDir()
	m.env = []string{
		"GOPROXY=file://" + strings.TrimSpace(m.output("env", "GOMODCACHE")) + "/cache/download", "GOSUMDB=off",
		"GOMODCACHE=" + cache, "GOFLAGS=-mod=mod -modcacherw",
	}
	m.run("list", "-deps", ".")
	downloaded, err := filepath.Glob(filepath.Join(cache, "*", "*", "*"))
	require.NoError(t, err)
	require.Contains(t, strings.Join(downloaded, "\n"), "google.golang.org/grpc")
	require.DirExists(t, filepath.Join(cache, "k8s.io"))
	require.NotContains(t, strings.Join(downloaded, "\n"), "spf13/cobra@")
	require.NotContains(t, strings.Join(downloaded, "\n"), "inconshreveable/mousetrap@")
}

// TestVendorExampleBuildsElsewhere compiles a copy of examples/vendor and its tests outside of
// this repository.
func TestVendorExampleBuildsElsewhere(t *testing.T) {
	dependOnModuleFiles(t)
	root, err := os.Getwd()
	require.NoError(t, err)
	m := &outsideModule{t: t, dir: t.TempDir()}
	require.NoError(t, os.CopyFS(m.dir, os.DirFS("examples/vendor")))
	m.run("mod", "edit", "-replace="+module+"="+root)
	m.run("vet", "./...")
	require.NotContains(t, m.read("go.mod"), "k8s.io/kubernetes")
	require.Equal(t, 1, strings.Count(m.read("go.mod"), "=>"), "a plugin needs no replace lines but the one for this repository")
}

// An outsideModule is a module that requires this one.
type outsideModule struct {
	t   *testing.T
	dir string
	env []string // additional variables of the go command
}

func newOutsideModule(t *testing.T, files map[string]string) *outsideModule {
	root, err := os.Getwd()
	require.NoError(t, err)
	m := &outsideModule{t: t, dir: t.TempDir()}
	sums, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	files["go.sum"] = string(sums)
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600))
	}
	m.run("mod", "init", "example.com/vendor")
	m.run("mod", "edit", "-go=1.26.0", "-require="+module+"@v0.0.0", "-replace="+module+"="+root)
	return m
}

// run runs the go command in the module.
func (m *outsideModule) run(args ...string) {
	m.t.Helper()
	m.output(args...)
}

// output runs the go command in the module and returns what it prints.
func (m *outsideModule) output(args ...string) string {
	m.t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	cmd.Env = append(cmd.Env, m.env...)
	out, err := cmd.CombinedOutput()
	require.NoError(m.t, err, "go %v: %s", args, out)
	return string(out)
}

func (m *outsideModule) read(name string) string {
	m.t.Helper()
	data, err := os.ReadFile(filepath.Join(m.dir, name))
	require.NoError(m.t, err)
	return string(data)
}
