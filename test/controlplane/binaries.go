// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Main packages of the programs that tests run.
const (
	EtcdPackage      = "go.etcd.io/etcd/server/v3"
	APIServerPackage = "k8s.io/kubernetes/cmd/kube-apiserver"
	KubeProxyPackage = "k8s.io/kubernetes/cmd/kube-proxy"
	KPNGProxyPackage = "sigs.k8s.io/kpng/examples/kube-proxy"
	KPNGPackage      = "sigs.k8s.io/kpng/examples/kpng"
	WatchOnlyPackage = "sigs.k8s.io/kpng/test/watchonly"
)

// Binaries is a directory of built programs.
type Binaries struct {
	dir      string
	prebuilt bool // programs of other modules are never rebuilt
	complete bool // no program is built
}

// OpenBinaries returns the directory $KPNG_TEST_BIN if that is set, and a directory in the
// user's cache otherwise. Programs of other modules that exist in $KPNG_TEST_BIN are used
// as they are; all others are rebuilt when they are out of date. If $KPNG_TEST_BIN_COMPLETE is 1,
// no program is built: the directory has all of them.
func OpenBinaries() (*Binaries, error) {
	if dir := os.Getenv("KPNG_TEST_BIN"); dir != "" {
		return &Binaries{dir: dir, prebuilt: true, complete: os.Getenv("KPNG_TEST_BIN_COMPLETE") == "1"}, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "kpng-test")
	return &Binaries{dir: dir}, os.MkdirAll(dir, 0o755)
}

// Build builds the programs of the given main packages and returns their paths in the same
// order. Several processes may call it at the same time. The first build of a Kubernetes
// program takes minutes, later ones a second.
func (b *Binaries) Build(ctx context.Context, packages ...string) ([]string, error) {
	paths := make([]string, len(packages))
	for i, pkg := range packages {
		name, own := programName(pkg)
		paths[i] = filepath.Join(b.dir, name)
		if _, err := os.Stat(paths[i]); err == nil && (b.complete || b.prebuilt && !own) {
			continue
		}
		if err := b.build(ctx, pkg, paths[i]); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

func (b *Binaries) build(ctx context.Context, pkg, path string) error {
	unlock, err := lock(filepath.Join(b.dir, ".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w: %s", pkg, err, out)
	}
	return nil
}

// programName returns the file name for the program of a package: the last element of its
// path that is not a major version. Programs of this project get the prefix "kpng-", because
// both this project and Kubernetes have a kube-proxy. own reports whether pkg is of this
// project.
func programName(pkg string) (name string, own bool) {
	dir, name := filepath.Split(pkg)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = filepath.Base(dir)
	}
	if strings.HasPrefix(pkg, "sigs.k8s.io/kpng/") {
		return "kpng-" + name, true
	}
	return name, false
}

// lock prevents other processes from building into the same directory.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		file.Close()
		return nil, err
	}
	return func() { file.Close() }, nil
}
