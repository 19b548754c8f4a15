// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// previousVersion is the minor version of Kubernetes before that of this configuration.
const previousVersion = "1.36"

// modes lists the values of mode that kube-proxy has on the system, and ModeEBPF.
func modes(isWindows bool) []string {
	if isWindows {
		return []string{ModeKernelspace}
	}
	return []string{ModeIPTables, ModeIPVS, ModeNFTables, ModeEBPF}
}

func localModes() []string {
	return []string{detectClusterCIDR, detectNodeCIDR, detectBridgeInterface, detectInterfacePrefix}
}

// A validator collects the errors of a configuration.
type validator struct{ errs field.ErrorList }

func (v *validator) invalidf(path string, value any, format string, args ...any) {
	v.errs = append(v.errs, field.Invalid(field.NewPath(path), value, fmt.Sprintf(format, args...)))
}

// validate returns an error that names each invalid field of a configuration with
// defaults. It refuses what kube-proxy refuses.
func (s *settings) validate() error {
	v := &validator{}
	c := &s.KubeProxyConfiguration
	if mode := string(c.Mode); !slices.Contains(modes(s.isWindows), mode) || mode == ModeIPVS && !featureEnabled(c.FeatureGates, gateIPVS) {
		v.invalidf("mode", mode, "must be one of %s", strings.Join(modes(s.isWindows), ", "))
	}
	v.masqueradeBit("iptables.masqueradeBit", c.IPTables.MasqueradeBit)
	switch string(c.Mode) {
	case ModeIPVS:
		v.nonNegative("ipvs.tcpTimeout", c.IPVS.TCPTimeout)
		v.nonNegative("ipvs.tcpFinTimeout", c.IPVS.TCPFinTimeout)
		v.nonNegative("ipvs.udpTimeout", c.IPVS.UDPTimeout)
		for i, network := range c.IPVS.ExcludeCIDRs {
			v.network(fmt.Sprintf("ipvs.excludeCIDRs[%d]", i), network)
		}
	case ModeNFTables, ModeEBPF:
		v.masqueradeBit("nftables.masqueradeBit", c.NFTables.MasqueradeBit)
	case ModeKernelspace:
		if vip := c.Winkernel.SourceVip; vip != "" && checkIP(vip) != nil {
			v.invalidf("winkernel.sourceVip", vip, "must be an IP address")
		}
	}
	v.periods(s)
	s.validateKernel(v)
	if n := c.ClientConnection.Burst; n < 0 {
		v.invalidf("clientConnection.burst", n, "must not be negative")
	}
	if err := checkIP(c.BindAddress); err != nil {
		v.invalidf("bindAddress", c.BindAddress, "must be an IP address")
	}
	if c.HealthzBindAddress != "" {
		v.ipPort("healthzBindAddress", c.HealthzBindAddress)
	}
	v.ipPort("metricsBindAddress", c.MetricsBindAddress)
	v.nodePortAddresses(c.NodePortAddresses)
	if version := c.ShowHiddenMetricsForVersion; version != "" && version != previousVersion {
		v.invalidf("showHiddenMetricsForVersion", version, "must be %s, the previous minor version of Kubernetes", previousVersion)
	}
	s.validateLocalMode(v)
	s.validateLogging(v)
	if err := v.errs.ToAggregate(); err != nil {
		return fmt.Errorf("invalid configuration: %w", err)
	}
	return nil
}

func (v *validator) periods(s *settings) {
	if d := s.ConfigSyncPeriod; d.Duration <= 0 {
		v.invalidf("configSyncPeriod", d.Duration.String(), "must be positive")
	}
	section := string(s.Mode)
	if usesNFTables(section) {
		section = ModeNFTables
	}
	if s.syncPeriod <= 0 {
		v.invalidf(section+".syncPeriod", s.syncPeriod.String(), "must be positive")
	}
	if s.minSyncPeriod < 0 {
		v.invalidf(section+".minSyncPeriod", s.minSyncPeriod.String(), "must not be negative")
	}
	if s.minSyncPeriod > s.syncPeriod {
		v.invalidf(section+".minSyncPeriod", s.minSyncPeriod.String(), "must not exceed syncPeriod, %v", s.syncPeriod)
	}
}

func (v *validator) masqueradeBit(path string, bit *int32) {
	if *bit < 0 || *bit > 31 {
		v.invalidf(path, *bit, "must be in the range 0-31")
	}
}

func (v *validator) nonNegative(path string, d metav1.Duration) {
	if d.Duration < 0 {
		v.invalidf(path, d.Duration.String(), "must not be negative")
	}
}

func (v *validator) network(path, text string) {
	if _, _, err := netutils.ParseCIDRSloppy(text); err != nil {
		v.invalidf(path, text, "must be a network, ADDRESS/LENGTH")
	}
}

func (v *validator) ipPort(path, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		v.invalidf(path, address, "must be IP:port")
		return
	}
	if checkIP(host) != nil {
		v.invalidf(path, address, "%q is not an IP address", host)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		v.invalidf(path, address, "port %q is not in the range 1-65535", port)
	}
}

func (v *validator) nodePortAddresses(entries []string) {
	seen := map[string]bool{}
	for i, entry := range entries {
		path := fmt.Sprintf("nodePortAddresses[%d]", i)
		if !isNodePortKeyword(entry) {
			if _, _, err := netutils.ParseCIDRSloppy(entry); err != nil {
				v.invalidf(path, entry, "must be a network, or one of primary, localhost, all")
			}
			continue
		}
		if seen[entry] {
			v.errs = append(v.errs, field.Duplicate(field.NewPath(path), entry))
		}
		seen[entry] = true
	}
}

func isNodePortKeyword(entry string) bool {
	return entry == "primary" || entry == "localhost" || entry == "all"
}

func (s *settings) validateKernel(v *validator) {
	if n := *s.OOMScoreAdj; n < -1000 || n > 1000 {
		v.invalidf("oomScoreAdj", n, "must be in the range -1000 to 1000")
	}
	c := &s.Conntrack
	for path, n := range map[string]int32{"conntrack.maxPerCore": *c.MaxPerCore, "conntrack.min": *c.Min} {
		if n < 0 {
			v.invalidf(path, n, "must not be negative")
		}
	}
	v.nonNegative("conntrack.tcpEstablishedTimeout", *c.TCPEstablishedTimeout)
	v.nonNegative("conntrack.tcpCloseWaitTimeout", *c.TCPCloseWaitTimeout)
	v.nonNegative("conntrack.udpTimeout", c.UDPTimeout)
	v.nonNegative("conntrack.udpStreamTimeout", c.UDPStreamTimeout)
}

func (s *settings) validateLocalMode(v *validator) {
	mode := string(s.DetectLocalMode)
	switch mode {
	case detectNodeCIDR:
	case detectBridgeInterface:
		if s.DetectLocal.BridgeInterface == "" {
			v.invalidf("detectLocal.bridgeInterface", "", "required for detectLocalMode %s", mode)
		}
	case detectInterfacePrefix:
		if s.DetectLocal.InterfaceNamePrefix == "" {
			v.invalidf("detectLocal.interfaceNamePrefix", "", "required for detectLocalMode %s", mode)
		}
	case detectClusterCIDR:
		if len(s.clusterCIDRs) == 0 {
			return
		}
		for _, network := range s.clusterCIDRs {
			v.network("clusterCIDR", network)
		}
		dual, err := netutils.IsDualStackCIDRStrings(s.clusterCIDRs)
		if len(s.clusterCIDRs) > 2 || len(s.clusterCIDRs) == 2 && err == nil && !dual {
			v.invalidf("clusterCIDR", strings.Join(s.clusterCIDRs, ","), "must have one network, or one of each address family")
		}
	default:
		v.errs = append(v.errs, field.NotSupported(field.NewPath("detectLocalMode"), mode, localModes()))
	}
}

func (s *settings) validateLogging(v *validator) {
	c := &s.Logging
	if d := c.FlushFrequency.Duration.Duration; d <= 0 {
		v.invalidf("logging.flushFrequency", d.String(), "must be positive")
	}
	if c.Format != formatText && (c.Format != formatJSON || !featureEnabled(s.FeatureGates, gateLoggingBeta)) {
		v.invalidf("logging.format", c.Format, "must be %s or %s", formatText, formatJSON)
	}
	if c.Format != formatText && len(c.VModule) > 0 {
		v.invalidf("logging.vmodule", len(c.VModule), "requires logging.format %s", formatText)
	}
	const maxVerbosity = 1<<31 - 1
	if c.Verbosity > maxVerbosity {
		v.invalidf("logging.verbosity", c.Verbosity, "must not exceed %d", maxVerbosity)
	}
	for i, item := range c.VModule {
		path := fmt.Sprintf("logging.vmodule[%d]", i)
		if item.FilePattern == "" || strings.ContainsAny(item.FilePattern, "=,") {
			v.invalidf(path+".filePattern", item.FilePattern, `must not be empty, or contain "=" or ","`)
		}
		if item.Verbosity > maxVerbosity {
			v.invalidf(path+".verbosity", item.Verbosity, "must not exceed %d", maxVerbosity)
		}
	}
	if featureEnabled(s.FeatureGates, gateLoggingAlpha) {
		return
	}
	for path, set := range map[string]bool{
		"logging.options.text.splitStream":    c.Options.Text.SplitStream,
		"logging.options.text.infoBufferSize": c.Options.Text.InfoBufferSize.Value() != 0,
		"logging.options.json.splitStream":    c.Options.JSON.SplitStream,
		"logging.options.json.infoBufferSize": c.Options.JSON.InfoBufferSize.Value() != 0,
	} {
		if set {
			v.errs = append(v.errs, field.Forbidden(field.NewPath(path), "requires the feature gate "+gateLoggingAlpha))
		}
	}
}
