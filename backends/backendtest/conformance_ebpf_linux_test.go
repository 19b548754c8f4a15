// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/conntrack"
	"sigs.k8s.io/kpng/backends/ebpf"
	"sigs.k8s.io/kpng/backends/internal/bpftest"
	"sigs.k8s.io/kpng/backends/localhost"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
)

// TestConformanceEBPF checks ebpf with nftables, conntrack and localhost. All namespaces of the
// testbed belong to one process, so the programs are limited to the node and its pods.
func TestConformanceEBPF(t *testing.T) { checkEBPF(t, "ebpf, nftables, conntrack and localhost", nil) }

// TestConformanceEBPFDevices checks the same with connections from outside decided at tc.
func TestConformanceEBPFDevices(t *testing.T) {
	checkEBPF(t, "ebpf with devices, nftables, conntrack and localhost", []string{"outside", "remote", "far"})
}

func checkEBPF(t *testing.T, name string, devices []string) {
	t.Helper()
	cgroup, pins := bpftest.JoinCgroup(t), bpftest.MountBPF(t)
	checkBackend(t, "ebpf", backendtest.Backend{
		Name: name,
		New: func(ctx context.Context, node backendtest.Namespace) (localsink.Sink, error) {
			rules, err := nftables.New(nftables.Config{})
			if err != nil {
				return nil, err
			}
			sockets, err := newSockets(ctx, t, ebpf.Config{Combined: true, Cgroup: cgroup, Devices: devices}, pins, node.(backendtest.NodeNamespace))
			if err != nil {
				return nil, err
			}
			flows, err := conntrack.New(conntrack.Config{})
			if err != nil {
				return nil, err
			}
			loopback, err := localhost.New(localhost.Config{Dial: backendtest.DialIn(node)})
			return localsink.Chain(rules, sockets, flows, loopback), err
		},
		LoopbackNodePorts:   true,
		Sockets:             true,
		AffinityPerFrontend: true, // those at the socket, and those in the packet path
		Drift: func() error {
			name, err := pinName(pins)
			if err != nil {
				return err
			}
			return os.Remove(filepath.Join(name, "connect4")) // the program remains attached until this is detected
		},
	})
}

// pinName returns the directory of the pins of the node in whose namespace the thread is.
func pinName(pins string) (string, error) {
	ns, err := os.Readlink("/proc/thread-self/ns/net")
	return filepath.Join(pins, ns), err
}

// newSockets returns a backend for one node. What it pins is removed when ctx is done, which is
// after a simulated restart too: then the next backend has replaced it.
func newSockets(ctx context.Context, t *testing.T, cfg ebpf.Config, pins string, node backendtest.NodeNamespace) (*ebpf.Backend, error) {
	t.Helper()
	var err error
	if cfg.PinDirectory, err = pinName(pins); err != nil {
		return nil, err
	}
	for _, ns := range append(node.LocalPods(), node) {
		f, err := namespaceFile(ns)
		if err != nil {
			return nil, err
		}
		context.AfterFunc(ctx, func() { _ = f.Close() })
		cfg.OnlyNamespaces = append(cfg.OnlyNamespaces, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}
	cfg.FindNamespaces = func() ([]string, error) { return cfg.OnlyNamespaces, nil }
	cfg.InterfaceAddrs = interfaceAddrsOf(node)
	cfg.CheckInterval = 100 * time.Millisecond
	return ebpf.New(cfg)
}

func namespaceFile(ns backendtest.Namespace) (f *os.File, err error) {
	err = ns.Run(func() error {
		f, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return f, err
}
