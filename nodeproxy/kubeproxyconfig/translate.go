// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"crypto/sha256"
	"log/slog"
	"maps"
	"net/netip"
	"time"

	logsapi "k8s.io/component-base/logs/api/v1"

	"sigs.k8s.io/kpng/backends/iptables"
	"sigs.k8s.io/kpng/backends/ipvs"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/sysctl"
	"sigs.k8s.io/kpng/watchers/kube"
	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// A Config is a valid configuration. It is immutable.
type Config struct {
	settings  *settings // normalized
	master    string
	proxyName string
	counts    string // "", services or endpoints
	rewrites  int
	devices   []string
	nodeName  string
	bindIP    netip.Addr
	networks  []netip.Prefix // of clusterCIDR
	flags     map[string]string

	// What [Config.Log] and [Config.WatchFile] need. lenient is the error of strict
	// decoding; content is the digest of the file.
	file       string
	content    [sha256.Size]byte
	lenient    error
	overridden []string
	ignored    []string
}

// NodeName returns the name of the node.
func (c *Config) NodeName() string { return c.nodeName }

// Mode returns the proxy mode.
func (c *Config) Mode() string { return string(c.settings.Mode) }

// HealthzAddress returns the host:port of /healthz; "" means that it is disabled.
func (c *Config) HealthzAddress() string { return c.settings.HealthzBindAddress }

// MetricsAddress returns the host:port of /metrics.
func (c *Config) MetricsAddress() string { return c.settings.MetricsBindAddress }

// BindAddressHardFail reports whether the proxy ends if it cannot listen on an address.
func (c *Config) BindAddressHardFail() bool { return c.settings.BindAddressHardFail }

// Profiling reports whether to serve /debug/pprof on the metrics address.
func (c *Config) Profiling() bool { return c.settings.EnableProfiling }

// Logging returns format and verbosity of log messages.
func (c *Config) Logging() logsapi.LoggingConfiguration { return *c.settings.Logging.DeepCopy() }

// Verbosity returns the initial verbosity of the log; far above any level in use it is
// bounded.
func (c *Config) Verbosity() int { return int(min(c.settings.Logging.Verbosity, 1000)) }

// Verbose reports whether to log at level debug.
func (c *Config) Verbose() bool { return c.settings.Logging.Verbosity >= 2 }

// Flags returns the value of every flag by its name, nil if the configuration came from no command line.
func (c *Config) Flags() map[string]string { return maps.Clone(c.flags) }

// FeatureEnabled reports whether a feature gate of Kubernetes is on.
func (c *Config) FeatureEnabled(name string) bool {
	return featureEnabled(c.settings.FeatureGates, name)
}

// OOMScoreAdj returns the oom_score_adj of the process.
func (c *Config) OOMScoreAdj() int { return int(*c.settings.OOMScoreAdj) }

// HealthTimeout returns the time within which an update must be applied; later the proxy
// is unhealthy.
func (c *Config) HealthTimeout() time.Duration { return 2 * c.settings.syncPeriod }

// Client returns the configuration of the client of the API server.
func (c *Config) Client() kubeclient.Config {
	client := c.settings.ClientConnection
	return kubeclient.Config{
		Kubeconfig: client.Kubeconfig, Master: c.master, QPS: client.QPS, Burst: int(client.Burst),
		ContentType: client.ContentType, AcceptContentTypes: client.AcceptContentTypes,
	}
}

// Kube returns the configuration of the watcher of the cluster state.
func (c *Config) Kube(logger *slog.Logger) kube.Config {
	return kube.Config{NodeName: c.NodeName(), Filter: kubeapi.Filter{ProxyName: c.proxyName}, Logger: logger}
}

// NFTables returns the configuration of the nftables backend. In another mode it has what the
// modes have in common.
func (c *Config) NFTables(logger *slog.Logger) nftables.Config {
	return nftables.Config{MasqueradeMark: c.masqueradeMark(), CountConnections: c.counts != "", Logger: logger}
}

// IPTables returns the configuration of the iptables backend.
func (c *Config) IPTables(logger *slog.Logger) iptables.Config {
	return iptables.Config{
		MasqueradeMark: c.masqueradeMark(), LocalhostNodePorts: *c.settings.IPTables.LocalhostNodePorts,
		KeepInvalidPackets: c.settings.Conntrack.TCPBeLiberal, Logger: logger,
	}
}

// IPVS returns the configuration of the ipvs backend.
func (c *Config) IPVS(logger *slog.Logger) ipvs.Config {
	s := &c.settings.IPVS
	return ipvs.Config{
		Scheduler: s.Scheduler, MasqueradeMark: c.masqueradeMark(), StrictARP: s.StrictARP, ExcludeCIDRs: parseNetworks(s.ExcludeCIDRs),
		TCPTimeout: s.TCPTimeout.Duration, TCPFinTimeout: s.TCPFinTimeout.Duration, UDPTimeout: s.UDPTimeout.Duration, Logger: logger,
	}
}

func (c *Config) masqueradeMark() uint32 {
	if usesNFTables(c.Mode()) {
		return 1 << *c.settings.NFTables.MasqueradeBit
	}
	return 1 << *c.settings.IPTables.MasqueradeBit // also that of the mode ipvs
}

// CountConnections returns which numbers of new connections /metrics has: those of "services",
// by frontend, or those of "endpoints" too; empty for none.
func (c *Config) CountConnections() string { return c.counts }

// RecentRewrites returns how many recent rewrites /state shows in the mode ebpf; 0 for none.
func (c *Config) RecentRewrites() int { return c.rewrites }

// EBPFDevices returns the network devices on which the mode ebpf decides connections from outside; nil
// for none.
func (c *Config) EBPFDevices() []string { return c.devices }

// Nodelocal returns how Services are resolved for the node.
func (c *Config) Nodelocal(logger *slog.Logger) nodelocal.Config {
	cfg := nodelocal.Config{
		NodeName:          c.NodeName(),
		ProxyName:         c.proxyName,
		NodeIP:            c.bindIP,
		NodePortAddresses: c.nodePortAddresses(),
		MasqueradeAll:     c.settings.masqueradeAll,
		IgnoreExternalIPs: !c.FeatureEnabled(gateExternalIPs),
		MinInterval:       c.settings.minSyncPeriod,
		MaxBackoff:        c.settings.syncPeriod,
		Logger:            logger,
	}
	switch c.settings.DetectLocalMode {
	case detectClusterCIDR:
		cfg.LocalPods.ClusterCIDRs = append(cfg.LocalPods.ClusterCIDRs, c.networks...)
	case detectNodeCIDR:
		cfg.LocalPods.NodeCIDR = true
	case detectBridgeInterface:
		cfg.LocalPods.Interface = c.settings.DetectLocal.BridgeInterface
	case detectInterfacePrefix:
		cfg.LocalPods.InterfacePrefix = c.settings.DetectLocal.InterfaceNamePrefix
	}
	return cfg
}

// ipv4Loopback is the network whose addresses serve node ports in the mode iptables, if
// iptables.localhostNodePorts is true and nodePortAddresses permit it.
const ipv4Loopback = "127.0.0.0/8"

// nodePortAddresses returns the addresses that serve node ports. None means all in the modes
// iptables and ipvs; setPlatformDefaults has the default of the mode nftables.
func (c *Config) nodePortAddresses() []string {
	entries := canonicalNetworks(c.settings.NodePortAddresses)
	if len(entries) == 0 {
		entries = []string{nodelocal.KeywordAll}
	}
	if c.settings.Mode == ModeIPTables && *c.settings.IPTables.LocalhostNodePorts {
		return withLoopback(entries)
	}
	return entries
}

// withLoopback adds the IPv4 loopback network to entries of nodePortAddresses that include it, as
// kube-proxy decides that. Without an entry for IPv4, all its addresses are included.
func withLoopback(entries []string) []string {
	isOpen, included := true, false
	for _, entry := range entries {
		p, err := netip.ParsePrefix(entry)
		isOpen = isOpen && err == nil && p.Addr().Is6()
		included = included || entry == nodelocal.KeywordAll || err == nil && p.Overlaps(netip.MustParsePrefix(ipv4Loopback))
	}
	switch {
	case isOpen:
		return append(entries, "0.0.0.0/0", ipv4Loopback)
	case included:
		return append(entries, ipv4Loopback)
	default:
		return entries
	}
}

// canonicalNetworks returns entries with networks as net/netip accepts them: kube-proxy
// also accepts leading zeros.
func canonicalNetworks(entries []string) []string {
	canonical := make([]string, len(entries))
	for i, entry := range entries {
		canonical[i] = entry
		for _, network := range parseNetworks([]string{entry}) {
			canonical[i] = network.String()
		}
	}
	return canonical
}

// Conntrack returns the kernel parameters of connection tracking on a machine with the
// given number of CPUs.
func (c *Config) Conntrack(cpus int) sysctl.Conntrack {
	conntrack := &c.settings.Conntrack
	return sysctl.Conntrack{
		Max:                   conntrackMax(*conntrack.MaxPerCore, *conntrack.Min, cpus),
		TCPEstablishedTimeout: conntrack.TCPEstablishedTimeout.Duration,
		TCPCloseWaitTimeout:   conntrack.TCPCloseWaitTimeout.Duration,
		UDPTimeout:            conntrack.UDPTimeout.Duration,
		UDPStreamTimeout:      conntrack.UDPStreamTimeout.Duration,
		TCPBeLiberal:          conntrack.TCPBeLiberal,
	}
}

// maxScaledConntrack bounds the product of maxPerCore and the number of CPUs.
const maxScaledConntrack = 1 << 20

// conntrackMax returns how many connections the kernel must be able to track; 0 keeps its limit.
func conntrackMax(perCore, least int32, cpus int) int {
	switch scaled := int(perCore) * cpus; {
	case perCore == 0:
		return 0
	case scaled > maxScaledConntrack:
		return maxScaledConntrack
	default:
		return max(scaled, int(least))
	}
}
