// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ebpf

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path"
	"path/filepath"
	"time"
)

// DefaultPinDirectory is the default of Config.PinDirectory.
const DefaultPinDirectory = "/sys/fs/bpf/kpng"

// defaultCheckInterval is the default of Config.CheckInterval.
const defaultCheckInterval = time.Second

// A Config configures a Backend. The zero value serves all processes of the machine.
type Config struct {
	// Combined means that another backend, such as nftables, programs the same updates into the
	// packet path. What this backend cannot decide at a socket, it then leaves to that one,
	// and nothing is unsupported. Otherwise it drops what it must drop by itself, and
	// Unsupported returns what is missing.
	Combined bool
	// Cgroup is the directory of the cgroup v2 whose processes are served. The default is the
	// root of the hierarchy, which is found in the mount table.
	Cgroup string
	// PinDirectory is a directory in a BPF file system. The links and the state of connections
	// are pinned there, so that they outlive the process. Backends with different directories
	// are independent; before Linux 6.6, only one of them can use a device of Devices. The default
	// is DefaultPinDirectory; New mounts the file system /sys/fs/bpf if it is missing.
	PinDirectory string
	// OnlyNamespaces lists paths of network namespaces, such as /run/netns/NAME, and limits
	// the backend to sockets in them. nil means all namespaces.
	OnlyNamespaces []string
	// ExcludedNamespaces lists paths of network namespaces whose sockets are left alone, for
	// service meshes and virtual machines. See also Backend.ExcludeNamespace.
	ExcludedNamespaces []string
	// Devices lists names of network devices of the node, or patterns of [path.Match] such as
	// "eth*". Connections that arrive through them from outside are decided at tc instead of in the
	// packet path, which still translates their packets; see the package documentation. Devices
	// may appear and disappear at any time. The loopback device and devices that identify
	// pods are left out. Empty means none, and costs nothing. It requires Combined, Linux 6.1, and the
	// modules nf_conntrack and nf_nat, which nftables.New loads.
	Devices []string
	// InterfaceAddrs lists the addresses of the node; nil means [net.InterfaceAddrs].
	InterfaceAddrs func() ([]net.Addr, error)
	// FindNamespaces lists paths of the network namespaces of the machine, in which UDP sockets
	// of removed endpoints are closed; nil lists those of all processes and /run/netns. Exclusions
	// of others may be forgotten; see Backend.ExcludeNamespace.
	FindNamespaces func() ([]string, error)
	// KeepSockets leaves connected UDP sockets of removed endpoints open.
	KeepSockets bool
	// CountConnections counts new connections by frontend and endpoint.
	CountConnections bool
	// RecentRewrites is how many of the newest rewrites Backend.RecentRewrites returns. 0 records
	// none, and then costs nothing.
	RecentRewrites int
	// CheckInterval is the time between two checks for changes by other programs; 0 means 1 s.
	CheckInterval time.Duration
	// Logger receives drift and sockets that cannot be closed; nil discards them.
	Logger *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	cfg.PinDirectory = cmp.Or(cfg.PinDirectory, DefaultPinDirectory)
	if !filepath.IsAbs(cfg.PinDirectory) {
		return cfg, fmt.Errorf("ebpf: PinDirectory: %q is not an absolute path", cfg.PinDirectory)
	}
	if cfg.CheckInterval < 0 {
		return cfg, fmt.Errorf("ebpf: CheckInterval: %v is negative", cfg.CheckInterval)
	}
	if cfg.RecentRewrites < 0 || cfg.RecentRewrites > maxRecentRewrites {
		return cfg, fmt.Errorf("ebpf: RecentRewrites: %d is out of range 0-%d", cfg.RecentRewrites, maxRecentRewrites)
	}
	if len(cfg.Devices) > 0 && !cfg.Combined {
		return cfg, errors.New("ebpf: Devices: requires Combined, because the packet path translates the packets")
	}
	for _, pattern := range cfg.Devices {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return cfg, fmt.Errorf("ebpf: Devices: %q is not a pattern of names", pattern)
		}
	}
	cfg.CheckInterval = cmp.Or(cfg.CheckInterval, defaultCheckInterval)
	if cfg.InterfaceAddrs == nil {
		cfg.InterfaceAddrs = net.InterfaceAddrs
	}
	if cfg.FindNamespaces == nil {
		cfg.FindNamespaces = findNamespaces
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

// findNamespaces returns the paths of the network namespaces of processes and of ip-netns(8).
func findNamespaces() ([]string, error) {
	var all []string
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/run/netns/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("ebpf: list network namespaces: %w", err)
		}
		all = append(all, paths...)
	}
	return all, nil
}
