// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// A configuration is kube-proxy's configuration file, KubeProxyConfiguration of
// kubeproxy.config.k8s.io/v1alpha1. Every field of it is known here, so that a
// misspelt one stands out; unused tells which ones mean nothing to this proxy.
type configuration struct {
	metav1.TypeMeta `json:",inline"`

	BindAddress         string           `json:"bindAddress"`
	BindAddressHardFail bool             `json:"bindAddressHardFail"`
	HealthzBindAddress  string           `json:"healthzBindAddress"`
	MetricsBindAddress  string           `json:"metricsBindAddress"`
	EnableProfiling     bool             `json:"enableProfiling"`
	HostnameOverride    string           `json:"hostnameOverride"`
	ClientConnection    clientConnection `json:"clientConnection"`
	Mode                string           `json:"mode"`
	ClusterCIDR         string           `json:"clusterCIDR"`
	DetectLocalMode     string           `json:"detectLocalMode"`
	DetectLocal         detectLocal      `json:"detectLocal"`
	NodePortAddresses   []string         `json:"nodePortAddresses"`
	NFTables            nftablesSection  `json:"nftables"`
	Conntrack           conntrackSection `json:"conntrack"`

	ConfigSyncPeriod            metav1.Duration `json:"configSyncPeriod"`
	FeatureGates                map[string]bool `json:"featureGates"`
	IPTables                    map[string]any  `json:"iptables"`
	IPVS                        map[string]any  `json:"ipvs"`
	Winkernel                   map[string]any  `json:"winkernel"`
	Logging                     map[string]any  `json:"logging"`
	OOMScoreAdj                 *int32          `json:"oomScoreAdj"`
	PortRange                   string          `json:"portRange"`
	ShowHiddenMetricsForVersion string          `json:"showHiddenMetricsForVersion"`
	WindowsRunAsService         bool            `json:"windowsRunAsService"`
}

type clientConnection struct {
	Kubeconfig         string  `json:"kubeconfig"`
	AcceptContentTypes string  `json:"acceptContentTypes"`
	ContentType        string  `json:"contentType"`
	QPS                float32 `json:"qps"`
	Burst              int32   `json:"burst"`
}

type detectLocal struct {
	BridgeInterface     string `json:"bridgeInterface"`
	InterfaceNamePrefix string `json:"interfaceNamePrefix"`
}

type nftablesSection struct {
	MasqueradeBit *int32          `json:"masqueradeBit"`
	MasqueradeAll bool            `json:"masqueradeAll"`
	SyncPeriod    metav1.Duration `json:"syncPeriod"`
	MinSyncPeriod metav1.Duration `json:"minSyncPeriod"`
}

const (
	apiVersion = "kubeproxy.config.k8s.io/v1alpha1"
	kind       = "KubeProxyConfiguration"
)

// load reads a configuration file. An unknown or doubled field is logged and
// otherwise ignored, as kube-proxy does.
func load(path string, log *slog.Logger) (*configuration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var cfg configuration
	if strict := yaml.UnmarshalStrict(data, &cfg); strict != nil {
		cfg = configuration{}
		if err := yaml.Unmarshal(data, &cfg); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		log.Warn("Configuration file has fields that are not known", "file", path, "err", strict)
	}
	if cfg.APIVersion != apiVersion || cfg.Kind != kind {
		return nil, fmt.Errorf("%s: is %q %q, should be %q %q", path, cfg.APIVersion, cfg.Kind, apiVersion, kind)
	}
	return &cfg, nil
}

// modes are the values of mode that this proxy runs.
func modes() []string { return []string{"nftables"} }

// complete fills in defaults and reports every value that is wrong.
func (c *configuration) complete() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Mode == "" {
		c.Mode = "nftables"
	}
	if !slices.Contains(modes(), c.Mode) {
		bad("mode", "%q cannot be run; it must be one of: %s", c.Mode, strings.Join(modes(), ", "))
	}
	if c.BindAddress == "" {
		c.BindAddress = "0.0.0.0"
	}
	if _, err := netip.ParseAddr(strings.Trim(c.BindAddress, "[]")); err != nil {
		bad("bindAddress", "%q is not an IP address", c.BindAddress)
	}
	var err error
	if c.HealthzBindAddress, err = hostPort(c.HealthzBindAddress, "0.0.0.0", "10256"); err != nil {
		bad("healthzBindAddress", "%v", err)
	}
	if c.MetricsBindAddress, err = hostPort(c.MetricsBindAddress, "127.0.0.1", "10249"); err != nil {
		bad("metricsBindAddress", "%v", err)
	}
	if bit := c.NFTables.MasqueradeBit; bit != nil && (*bit < 0 || *bit > 31) {
		bad("nftables.masqueradeBit", "%d is not within 0 to 31", *bit)
	}
	if c.NFTables.SyncPeriod.Duration == 0 {
		c.NFTables.SyncPeriod.Duration = defaultSyncPeriod
	}
	if c.NFTables.SyncPeriod.Duration < 0 || c.NFTables.MinSyncPeriod.Duration < 0 {
		bad("nftables", "periods must not be negative")
	}
	if _, err := c.clusterCIDRs(); err != nil {
		bad("clusterCIDR", "%v", err)
	}
	switch c.DetectLocalMode {
	case "", "ClusterCIDR", "NodeCIDR":
	case "BridgeInterface":
		if c.DetectLocal.BridgeInterface == "" {
			bad("detectLocal.bridgeInterface", "required by detectLocalMode BridgeInterface")
		}
	case "InterfaceNamePrefix":
		if c.DetectLocal.InterfaceNamePrefix == "" {
			bad("detectLocal.interfaceNamePrefix", "required by detectLocalMode InterfaceNamePrefix")
		}
	default:
		bad("detectLocalMode", "%q is not one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix", c.DetectLocalMode)
	}
	return errors.Join(errs...)
}

// hostPort completes an address of which the port or the host may be missing. The
// word "off" disables: an empty one is the default.
func hostPort(addr, host, port string) (string, error) {
	switch {
	case addr == "":
		return net.JoinHostPort(host, port), nil
	case addr == disabled:
		return "", nil
	}
	if ip, err := netip.ParseAddr(strings.Trim(addr, "[]")); err == nil {
		return net.JoinHostPort(ip.String(), port), nil
	}
	h, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port", addr)
	}
	if h == "" {
		h = host
	}
	if _, err := netip.ParseAddr(h); err != nil && h != "localhost" {
		return "", fmt.Errorf("%q has no IP address before the port", addr)
	}
	return net.JoinHostPort(h, p), nil
}

// clusterCIDRs returns the pods' networks, at most one of each family.
func (c *configuration) clusterCIDRs() ([]netip.Prefix, error) {
	var all []netip.Prefix
	for part := range strings.SplitSeq(c.ClusterCIDR, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network", part)
		}
		for _, other := range all {
			if other.Addr().Is4() == p.Addr().Is4() {
				return nil, fmt.Errorf("%s and %s are of one family", other, p)
			}
		}
		all = append(all, p)
	}
	return all, nil
}

// unused names the settings in c that this proxy does not act on.
func (c *configuration) unused() []string {
	var names []string
	note := func(set bool, name string) {
		if set {
			names = append(names, name)
		}
	}
	note(c.ConfigSyncPeriod.Duration != 0, "configSyncPeriod")
	note(len(c.FeatureGates) > 0, "featureGates")
	note(c.OOMScoreAdj != nil, "oomScoreAdj")
	note(c.PortRange != "", "portRange")
	note(c.ShowHiddenMetricsForVersion != "", "showHiddenMetricsForVersion")
	note(anySet(c.IPTables), "iptables")
	note(anySet(c.IPVS), "ipvs")
	note(anySet(c.Winkernel), "winkernel")
	note(anySet(c.Logging), "logging")
	note(c.WindowsRunAsService, "windowsRunAsService")
	return names
}

func anySet(section map[string]any) bool {
	for _, v := range section {
		if v != nil {
			return true
		}
	}
	return false
}
