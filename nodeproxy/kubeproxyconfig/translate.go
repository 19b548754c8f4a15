// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/sysctl"
	"sigs.k8s.io/kpng/watchers/kube"
)

// A Config is a valid configuration. It is immutable.
type Config struct {
	file     Configuration // with defaults
	master   string
	ignored  []string
	bindIP   netip.Addr
	networks []netip.Prefix // of clusterCIDR
}

// New validates a configuration that did not come from a command line. The error names
// each invalid field.
func New(c Configuration, hostname func() (string, error)) (*Config, error) {
	cfg, err := newConfig(c, hostname)
	if err != nil {
		return nil, err
	}
	cfg.ignored = c.ignored()
	return cfg, nil
}

func newConfig(c Configuration, hostname func() (string, error)) (*Config, error) {
	if err := c.complete(hostname); err != nil {
		return nil, err
	}
	cfg := &Config{file: c}
	cfg.bindIP, _ = parseIP(c.BindAddress)         // valid
	cfg.networks, _ = parseNetworks(c.ClusterCIDR) // valid
	return cfg, nil
}

// Configuration returns the configuration with all defaults.
func (c *Config) Configuration() Configuration { return c.file }

// Ignored returns the flags and fields that are set and have no effect.
func (c *Config) Ignored() []string { return slices.Clone(c.ignored) }

// NodeName returns the name of the node.
func (c *Config) NodeName() string { return c.file.HostnameOverride }

// Mode returns the proxy mode.
func (c *Config) Mode() string { return c.file.Mode }

// HealthzAddress returns the host:port of /healthz; "" means that it is disabled.
func (c *Config) HealthzAddress() string { return c.file.HealthzBindAddress }

// MetricsAddress returns the host:port of /metrics; "" means that it is disabled.
func (c *Config) MetricsAddress() string { return c.file.MetricsBindAddress }

// Profiling reports whether to serve /debug/pprof on the metrics address.
func (c *Config) Profiling() bool { return c.file.EnableProfiling }

// HealthTimeout returns the time within which an update must be applied; later the proxy
// is unhealthy.
func (c *Config) HealthTimeout() time.Duration { return 2 * c.file.NFTables.SyncPeriod.Duration }

// Client returns the configuration of the client of the API server.
func (c *Config) Client() kubeclient.Config {
	client := c.file.ClientConnection
	return kubeclient.Config{Kubeconfig: client.Kubeconfig, Master: c.master, QPS: client.QPS, Burst: int(client.Burst)}
}

// Kube returns the configuration of the watcher of the cluster state.
func (c *Config) Kube(logger *slog.Logger) kube.Config {
	return kube.Config{NodeName: c.NodeName(), Logger: logger}
}

// NFTables returns the configuration of the nftables backend.
func (c *Config) NFTables(logger *slog.Logger) nftables.Config {
	return nftables.Config{MasqueradeMark: 1 << value(c.file.NFTables.MasqueradeBit, 14), Logger: logger}
}

// Nodelocal returns how Services are resolved for the node.
func (c *Config) Nodelocal(logger *slog.Logger) nodelocal.Config {
	cfg := nodelocal.Config{
		NodeName:          c.NodeName(),
		NodeIP:            c.bindIP,
		NodePortAddresses: slices.Clone(c.file.NodePortAddresses),
		MasqueradeAll:     c.file.NFTables.MasqueradeAll,
		IgnoreExternalIPs: !c.featureEnabled(gateExternalIPs, true),
		MinInterval:       c.file.NFTables.MinSyncPeriod.Duration,
		MaxBackoff:        c.file.NFTables.SyncPeriod.Duration,
		Logger:            logger,
	}
	switch c.file.DetectLocalMode {
	case "", "ClusterCIDR":
		cfg.LocalPods.ClusterCIDRs = slices.Clone(c.networks)
	case "NodeCIDR":
		cfg.LocalPods.NodeCIDR = true
	case "BridgeInterface":
		cfg.LocalPods.Interface = c.file.DetectLocal.BridgeInterface
	case "InterfaceNamePrefix":
		cfg.LocalPods.InterfacePrefix = c.file.DetectLocal.InterfaceNamePrefix
	}
	return cfg
}

// Conntrack returns the kernel parameters of connection tracking on a machine with the
// given number of CPUs.
func (c *Config) Conntrack(cpus int) sysctl.Conntrack {
	conntrack := &c.file.Conntrack
	return sysctl.Conntrack{
		Max:                   conntrack.max(cpus),
		TCPEstablishedTimeout: value(conntrack.TCPEstablishedTimeout, metav1.Duration{Duration: 24 * time.Hour}).Duration,
		TCPCloseWaitTimeout:   value(conntrack.TCPCloseWaitTimeout, metav1.Duration{Duration: time.Hour}).Duration,
		UDPTimeout:            conntrack.UDPTimeout.Duration,
		UDPStreamTimeout:      conntrack.UDPStreamTimeout.Duration,
		TCPBeLiberal:          conntrack.TCPBeLiberal,
	}
}

// maxScaledConntrack bounds the product of maxPerCore and the number of CPUs.
const maxScaledConntrack = 1 << 20

// max returns how many connections the kernel must be able to track; 0 keeps its limit.
func (c *Conntrack) max(cpus int) int {
	perCore, least := value(c.MaxPerCore, 32768), value(c.Min, 131072)
	switch scaled := int(perCore) * cpus; {
	case perCore <= 0:
		return 0
	case scaled > maxScaledConntrack:
		return maxScaledConntrack
	default:
		return max(scaled, int(least))
	}
}

func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
