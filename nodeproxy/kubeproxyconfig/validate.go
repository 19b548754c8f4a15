// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	defaultSyncPeriod = 30 * time.Second
	// disabled is the value of an address flag that was set to "": an empty field means
	// the default.
	disabled = "off"
)

// modes lists the supported values of mode.
func modes() []string { return []string{"nftables"} }

// complete sets defaults, and returns an error that names each invalid field.
func (c *Configuration) complete(hostname func() (string, error)) error {
	name, nameErr := nodeName(c.HostnameOverride, hostname)
	c.HostnameOverride = name
	errs := []error{nameErr}
	invalid := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", field, fmt.Sprintf(format, args...)))
	}
	if c.Mode == "" {
		c.Mode = "nftables"
	}
	if !slices.Contains(modes(), c.Mode) {
		invalid("mode", "%q is not supported, want one of: %s", c.Mode, strings.Join(modes(), ", "))
	}
	if c.BindAddress == "" {
		c.BindAddress = "0.0.0.0"
	}
	if _, err := parseIP(c.BindAddress); err != nil {
		invalid("bindAddress", "%q is not an IP address", c.BindAddress)
	}
	var err error
	if c.HealthzBindAddress, err = hostPort(c.HealthzBindAddress, "0.0.0.0", "10256"); err != nil {
		invalid("healthzBindAddress", "%v", err)
	}
	if c.MetricsBindAddress, err = hostPort(c.MetricsBindAddress, "127.0.0.1", "10249"); err != nil {
		invalid("metricsBindAddress", "%v", err)
	}
	c.NFTables.complete(invalid)
	if _, err := parseNetworks(c.ClusterCIDR); err != nil {
		invalid("clusterCIDR", "%v", err)
	}
	switch c.DetectLocalMode {
	case "", "ClusterCIDR", "NodeCIDR":
	case "BridgeInterface":
		if c.DetectLocal.BridgeInterface == "" {
			invalid("detectLocal.bridgeInterface", "required for detectLocalMode BridgeInterface")
		}
	case "InterfaceNamePrefix":
		if c.DetectLocal.InterfaceNamePrefix == "" {
			invalid("detectLocal.interfaceNamePrefix", "required for detectLocalMode InterfaceNamePrefix")
		}
	default:
		invalid("detectLocalMode", "%q is not one of ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix", c.DetectLocalMode)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("invalid configuration:\n%w", err)
	}
	return nil
}

func (n *NFTables) complete(invalid func(field, format string, args ...any)) {
	if bit := n.MasqueradeBit; bit != nil && (*bit < 0 || *bit > 31) {
		invalid("nftables.masqueradeBit", "%d is out of range 0-31", *bit)
	}
	if n.SyncPeriod.Duration == 0 {
		n.SyncPeriod.Duration = defaultSyncPeriod
	}
	if n.SyncPeriod.Duration < 0 {
		invalid("nftables.syncPeriod", "%v is negative", n.SyncPeriod.Duration)
	}
	if n.MinSyncPeriod.Duration < 0 {
		invalid("nftables.minSyncPeriod", "%v is negative", n.MinSyncPeriod.Duration)
	}
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

// hostPort completes an address without host or port. "off" disables: the result is "".
func hostPort(address, defaultHost, defaultPort string) (string, error) {
	switch address {
	case "":
		return net.JoinHostPort(defaultHost, defaultPort), nil
	case disabled:
		return "", nil
	}
	if ip, err := parseIP(address); err == nil {
		return net.JoinHostPort(ip.String(), defaultPort), nil
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", fmt.Errorf("%q is not host:port", address)
	}
	if host == "" {
		host = defaultHost
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		return "", fmt.Errorf("host of %q is not an IP address", address)
	}
	return net.JoinHostPort(host, port), nil
}

// parseIP parses an IP address, which may be in brackets.
func parseIP(address string) (netip.Addr, error) { return netip.ParseAddr(strings.Trim(address, "[]")) }

// parseNetworks parses a comma-separated list with at most one network of each family.
func parseNetworks(list string) (networks []netip.Prefix, err error) {
	for text := range strings.SplitSeq(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network", text)
		}
		for _, other := range networks {
			if other.Addr().Is4() == network.Addr().Is4() {
				return nil, fmt.Errorf("%s and %s are of the same address family", other, network)
			}
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// ignored returns the fields of c that are set and have no effect.
func (c *Configuration) ignored() (fields []string) {
	check := func(set bool, field string) {
		if set {
			fields = append(fields, field)
		}
	}
	check(c.ConfigSyncPeriod.Duration != 0, "configSyncPeriod")
	fields = append(fields, ignoredGates(c.FeatureGates)...)
	check(c.OOMScoreAdj != nil, "oomScoreAdj")
	check(c.PortRange != "", "portRange")
	check(c.ShowHiddenMetricsForVersion != "", "showHiddenMetricsForVersion")
	check(anySet(c.IPTables), "iptables")
	check(anySet(c.IPVS), "ipvs")
	check(anySet(c.Winkernel), "winkernel")
	check(anySet(c.Logging), "logging")
	check(c.WindowsRunAsService, "windowsRunAsService")
	return fields
}

func anySet(section map[string]any) bool {
	for _, v := range section {
		if v != nil {
			return true
		}
	}
	return false
}
