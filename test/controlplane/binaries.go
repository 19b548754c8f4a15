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

// Packages of the programs that the tests run.
const (
	EtcdPackage      = "go.etcd.io/etcd/server/v3"
	APIServerPackage = "k8s.io/kubernetes/cmd/kube-apiserver"
	KubeProxyPackage = "k8s.io/kubernetes/cmd/kube-proxy"
	OurProxyPackage  = "sigs.k8s.io/kpng/examples/kube-proxy"
	WatchOnlyPackage = "sigs.k8s.io/kpng/test/watchonly"
)

// Binaries is a folder of built programs.
type Binaries struct {
	dir   string
	given bool
}

// OpenBinaries returns the folder $KPNG_TEST_BIN, whose programs are used as they
// are, or else a folder in the user's cache, where programs are brought up to
// date.
func OpenBinaries() (*Binaries, error) {
	if dir := os.Getenv("KPNG_TEST_BIN"); dir != "" {
		return &Binaries{dir: dir, given: true}, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(cache, "kpng-test")
	return &Binaries{dir: dir}, os.MkdirAll(dir, 0o755)
}

// Build returns the paths of the programs made of the packages, in their order.
// It may be called from several processes at once. The first build of a
// Kubernetes program takes minutes, later ones a second.
func (b *Binaries) Build(ctx context.Context, packages ...string) ([]string, error) {
	paths := make([]string, len(packages))
	for i, pkg := range packages {
		name, ours := programName(pkg)
		paths[i] = filepath.Join(b.dir, name)
		// Given programs are never old; ours are what is being tested.
		if _, err := os.Stat(paths[i]); err == nil && b.given && !ours {
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

// programName is the last element of a package's path that is not a major
// version, marked when the package is one of ours: we too have a kube-proxy.
func programName(pkg string) (name string, ours bool) {
	dir, name := filepath.Split(pkg)
	if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
		name = filepath.Base(dir)
	}
	if strings.HasPrefix(pkg, "sigs.k8s.io/kpng/") {
		return "kpng-" + name, true
	}
	return name, false
}

// lock keeps other processes from building into the same folder.
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
