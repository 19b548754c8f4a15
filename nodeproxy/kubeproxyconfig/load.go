// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/kube-proxy/config/v1alpha1"
	netutils "k8s.io/utils/net"

	"sigs.k8s.io/kpng/watchers/kubeapi"
)

// maxRewrites is the limit of the ebpf backend.
const maxRewrites = 65536

// Load returns the configuration of the options. It reads the configuration file, if
// there is one: then most flags have no effect, as in kube-proxy. The error names each
// invalid field. [Config.Log] logs what an operator should know about the configuration.
func (o *Options) Load() (*Config, error) {
	if err := (kubeapi.Filter{ProxyName: o.proxyName}).Validate(); err != nil {
		return nil, fmt.Errorf("--proxy-name: %w", err)
	}
	if !slices.Contains([]string{"", "services", "endpoints"}, o.counts) {
		return nil, fmt.Errorf("--count-connections: %q is not services or endpoints", o.counts)
	}
	if o.rewrites < 0 || o.rewrites > maxRewrites {
		return nil, fmt.Errorf("--recent-rewrites: %d is out of range 0-%d", o.rewrites, maxRewrites)
	}
	for _, pattern := range o.devices {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
			return nil, fmt.Errorf("--ebpf-devices: %q is not a pattern of names", pattern)
		}
	}
	cfg := &Config{master: o.master, proxyName: o.proxyName, counts: o.counts, rewrites: o.rewrites, devices: o.devices, flags: o.Flags()}
	s := &settings{KubeProxyConfiguration: *o.config.DeepCopy()}
	if o.ConfigFile != "" {
		c, content, lenient, err := readFile(o.ConfigFile)
		if err != nil {
			return nil, fmt.Errorf("configuration file: %w", err)
		}
		setDefaults(c)
		o.mergeLogging(&c.Logging)
		setPlatformDefaults(c, o.isWindows)
		s = newSettings(c, o.isWindows)
		cfg.file, cfg.content, cfg.lenient = o.ConfigFile, sha256.Sum256(content), lenient
		cfg.overridden = o.flagsWithoutEffect()
	} else {
		if o.WriteConfigTo == "" {
			s.HealthzBindAddress = withDeprecatedPort(s.HealthzBindAddress, o.healthzPort)
			s.MetricsBindAddress = withDeprecatedPort(s.MetricsBindAddress, o.metricsPort)
		}
		setPlatformDefaults(&s.KubeProxyConfiguration, o.isWindows)
		s = newSettings(&s.KubeProxyConfiguration, o.isWindows)
		o.applyFlags(s)
	}
	if o.hostnameOverride != "" {
		name := strings.ToLower(strings.TrimSpace(o.hostnameOverride))
		if name == "" {
			return nil, errors.New("--hostname-override: must not be blank")
		}
		s.HostnameOverride = name
	}
	return cfg, cfg.complete(s, os.Hostname)
}

// applyFlags sets what several flags share, or a flag shares with several fields.
func (o *Options) applyFlags(s *settings) {
	s.masqueradeAll = o.masqueradeAll
	sync, minimum := "iptables-sync-period", "iptables-min-sync-period"
	syncPeriod, minPeriod := o.iptablesSyncPeriod, o.iptablesMinPeriod
	if s.Mode == ModeIPVS {
		sync, minimum = "ipvs-sync-period", "ipvs-min-sync-period"
		syncPeriod, minPeriod = o.ipvsSyncPeriod, o.ipvsMinPeriod
	}
	if o.changed(sync) {
		s.syncPeriod = syncPeriod
	}
	if o.changed(minimum) {
		s.minSyncPeriod = minPeriod
	}
	if o.changed("cluster-cidr") {
		s.clusterCIDRs = strings.Split(o.config.ClusterCIDR, ",")
	}
}

// flagsWithoutEffect returns the flags that are set although a configuration file replaces them.
func (o *Options) flagsWithoutEffect() (names []string) {
	o.set.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "config", "write-config-to", "cleanup", "init-only", "master", "hostname-override", "proxy-name", "count-connections", "recent-rewrites",
			"ebpf-devices", "version", "help":
		default:
			if !isLogFlag(f.Name) {
				names = append(names, "--"+f.Name)
			}
		}
	})
	return names
}

// withDeprecatedPort returns the address of a server from the flag for its address and the
// older one for its port.
func withDeprecatedPort(address string, port int32) string {
	if port == 0 {
		return ""
	}
	return appendPort(address, port)
}

// New returns the configuration c, which did not come from a command line, with defaults
// for unset fields. hostname is called if c does not name the node. The error names each
// invalid field. The mode kernelspace makes it a configuration for Windows.
func New(c v1alpha1.KubeProxyConfiguration, hostname func() (string, error)) (*Config, error) {
	c = *c.DeepCopy()
	setDefaults(&c)
	isWindows := c.Mode == ModeKernelspace
	setPlatformDefaults(&c, isWindows)
	cfg := &Config{}
	return cfg, cfg.complete(newSettings(&c, isWindows), hostname)
}

// complete validates s and sets the fields of c that depend on it.
func (c *Config) complete(s *settings, hostname func() (string, error)) error {
	if err := errors.Join(checkGates(s.FeatureGates), s.validate()); err != nil {
		return err
	}
	name, err := nodeName(s.HostnameOverride, hostname)
	if err != nil {
		return err
	}
	c.nodeName = name
	c.ignored = ignored(s)
	c.settings = s
	s.normalize()
	bindIP, _ := netip.AddrFromSlice(netutils.ParseIPSloppy(s.BindAddress)) // valid
	c.bindIP = bindIP.Unmap()
	if s.DetectLocalMode == detectClusterCIDR {
		c.networks = parseNetworks(s.clusterCIDRs)
	}
	return nil
}

// nodeName returns the name of the node: override, or else the host name, in lower case.
func nodeName(override string, hostname func() (string, error)) (string, error) {
	name := override
	if name == "" {
		host, err := hostname()
		if err != nil {
			return "", fmt.Errorf("hostnameOverride (--hostname-override): required, no host name: %w", err)
		}
		name = host
	}
	if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
		return "", errors.New("hostnameOverride (--hostname-override): name of the node is empty")
	}
	return name, nil
}

// parseNetworks returns valid networks in their canonical form.
func parseNetworks(texts []string) (networks []netip.Prefix) {
	for _, text := range texts {
		if _, network, err := netutils.ParseCIDRSloppy(text); err == nil {
			addr, _ := netip.AddrFromSlice(network.IP)
			length, _ := network.Mask.Size()
			networks = append(networks, netip.PrefixFrom(addr, length))
		}
	}
	return networks
}
