// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"log/slog"
	"slices"

	"sigs.k8s.io/kpng/nodelocal"
)

// ForNFTables returns the configuration for a program whose only backend is nftables: c
// itself in that mode. The file of an existing cluster often names another mode: kubeadm
// writes iptables by default. Then the result has the mode nftables, and what the modes have
// in common keeps its value: masqueradeAll, masqueradeBit, syncPeriod, minSyncPeriod, and the
// addresses that serve node ports, by default all of the node. It logs the mode of the file at
// level warn. A nil logger is silent.
func (c *Config) ForNFTables(logger *slog.Logger) *Config {
	if c.settings.Mode == ModeNFTables {
		return c
	}
	if logger != nil {
		logger.Warn("Proxy mode not available, using "+ModeNFTables, "mode", c.Mode())
	}
	result, s := *c, *c.settings
	s.KubeProxyConfiguration = *c.settings.DeepCopy()
	bit := *s.IPTables.MasqueradeBit // also that of the mode ipvs
	s.NFTables.MasqueradeBit = &bit
	if s.Mode = ModeNFTables; len(s.NodePortAddresses) == 0 {
		s.NodePortAddresses = []string{nodelocal.KeywordAll}
	}
	s.normalize()
	result.settings = &s
	return &result
}

// hasEffectInMode reports whether [Config.ForNFTables] keeps the value of a field of another
// mode.
func (s *settings) hasEffectInMode(path string) bool {
	kept := []string{"iptables.masqueradeAll", "iptables.masqueradeBit"}
	switch s.Mode {
	case modeIPTables:
		kept = append(kept, "iptables.syncPeriod", "iptables.minSyncPeriod")
	case modeIPVS:
		kept = append(kept, "ipvs.syncPeriod", "ipvs.minSyncPeriod")
	default:
		return false
	}
	return slices.Contains(kept, path)
}
