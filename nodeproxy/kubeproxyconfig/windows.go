// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"

	"github.com/spf13/pflag"
	netutils "k8s.io/utils/net"

	"sigs.k8s.io/kpng/backends/hns"
)

// defaultRootEndpoint is the HNS endpoint of the node that kubenet and the usual scripts create.
const defaultRootEndpoint = "cbr0"

// defineWindows defines the flags that kube-proxy has on Windows only.
func (o *Options) defineWindows(fs *pflag.FlagSet) {
	c := &o.config.Winkernel
	fs.BoolVar(&o.config.WindowsRunAsService, "windows-service", false, "run as a Windows service"+fileWins)
	fs.StringVar(&c.NetworkName, "network-name", "", "name of the HNS network of the pods; empty means the environment variable KUBE_NETWORK"+fileWins)
	fs.StringVar(&c.SourceVip, "source-vip", "", "IP address that replaces that of clients where answers must return through this node"+fileWins)
	fs.BoolVar(&c.EnableDSR, "enable-dsr", false, "let endpoints answer clients of cluster IPs directly"+fileWins)
	fs.StringVar(&c.RootHnsEndpointName, "root-hnsendpoint-name", defaultRootEndpoint,
		"name of the HNS endpoint of the node, for --forward-healthcheck-vip"+fileWins)
	fs.BoolVar(&c.ForwardHealthCheckVip, "forward-healthcheck-vip", false, "forward health checks at addresses of load balancers to the node"+fileWins)
}

// HNS returns the configuration of the hns backend, without its HNS. As kube-proxy does on Windows, it
// serves all clients of Services with source ranges.
func (c *Config) HNS(logger *slog.Logger) hns.Config {
	s := &c.settings.Winkernel
	cfg := hns.Config{
		Network: s.NetworkName, EnableDSR: s.EnableDSR, IgnoreSourceRanges: true, PollInterval: c.settings.syncPeriod, Logger: logger,
	}
	if vip, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(s.SourceVip)); ok { // empty, or valid
		cfg.SourceVIP = vip.Unmap()
	}
	if s.ForwardHealthCheckVip {
		cfg.HealthCheckEndpoint = s.RootHnsEndpointName
		if _, port, err := net.SplitHostPort(c.settings.HealthzBindAddress); err == nil {
			number, _ := strconv.ParseUint(port, 10, 16) // validated
			cfg.HealthCheckPort = uint16(number)
		}
	}
	return cfg
}

// RunsAsService reports whether the proxy runs as a Windows service.
func (c *Config) RunsAsService() bool { return c.settings.WindowsRunAsService }
