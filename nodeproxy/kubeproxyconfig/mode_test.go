// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// loadFile loads a configuration file with these lines.
func loadFile(t *testing.T, lines string) *Config {
	t.Helper()
	c, err := load([]string{"--config=" + writeFile(t, "hostnameOverride: node-1\n"+lines)}, io.Discard)
	require.NoError(t, err)
	return c
}

// TestSettingsOfTheModeInUse reads files as kubeadm writes them, with the sections of all modes.
func TestSettingsOfTheModeInUse(t *testing.T) {
	const sections = `
iptables: {masqueradeAll: true, masqueradeBit: 9, syncPeriod: 21s, minSyncPeriod: 2s, localhostNodePorts: false}
ipvs: {syncPeriod: 22s, minSyncPeriod: 3s, scheduler: sh}
nftables: {masqueradeBit: 10, syncPeriod: 23s, minSyncPeriod: 4s}
`
	for _, test := range []struct {
		mode          string
		masqueradeAll bool
		mark          uint32
		sync, minimum time.Duration
		idle          []string
	}{
		{ModeIPTables, true, 1 << 9, 21 * time.Second, 2 * time.Second, []string{
			"ipvs.minSyncPeriod", "ipvs.scheduler", "ipvs.syncPeriod", "nftables.masqueradeBit", "nftables.minSyncPeriod", "nftables.syncPeriod",
		}},
		{ModeIPVS, true, 1 << 9, 22 * time.Second, 3 * time.Second, []string{
			"iptables.localhostNodePorts", "iptables.minSyncPeriod", "iptables.syncPeriod", "nftables.masqueradeBit", "nftables.minSyncPeriod", "nftables.syncPeriod",
		}},
		{ModeNFTables, false, 1 << 10, 23 * time.Second, 4 * time.Second, []string{
			"iptables.localhostNodePorts", "iptables.masqueradeAll", "iptables.masqueradeBit", "iptables.minSyncPeriod", "iptables.syncPeriod",
			"ipvs.minSyncPeriod", "ipvs.scheduler", "ipvs.syncPeriod",
		}},
		{ModeEBPF, false, 1 << 10, 23 * time.Second, 4 * time.Second, []string{
			"iptables.localhostNodePorts", "iptables.masqueradeAll", "iptables.masqueradeBit", "iptables.minSyncPeriod", "iptables.syncPeriod",
			"ipvs.minSyncPeriod", "ipvs.scheduler", "ipvs.syncPeriod",
		}},
	} {
		c := loadFile(t, "mode: "+test.mode+sections)
		require.Equal(t, test.mode, c.Mode())
		require.Equal(t, test.mark, c.NFTables(nil).MasqueradeMark, test.mode)
		node := c.Nodelocal(nil)
		require.Equal(t, test.masqueradeAll, node.MasqueradeAll, test.mode)
		require.Equal(t, test.minimum, node.MinInterval, test.mode)
		require.Equal(t, test.sync, node.MaxBackoff, test.mode)
		require.Equal(t, 2*test.sync, c.HealthTimeout(), test.mode)
		var idle []string
		for _, setting := range c.Ignored() {
			path, _, _ := strings.Cut(setting, "=")
			idle = append(idle, path)
		}
		require.Equal(t, test.idle, idle, test.mode)
	}
}

// TestNodePortAddressesOfTheMode checks which addresses serve node ports, also IPv4 loopback
// addresses in the mode iptables.
func TestNodePortAddressesOfTheMode(t *testing.T) {
	for _, test := range []struct {
		lines string
		want  []string
	}{
		{"mode: nftables", []string{"primary"}},
		{"mode: ebpf", []string{"primary"}},
		{"mode: ipvs", []string{"all"}},
		{"mode: iptables", []string{"all", "127.0.0.0/8"}},
		{"mode: iptables\niptables: {localhostNodePorts: false}", []string{"all"}},
		{"mode: iptables\nnodePortAddresses: [192.0.2.0/24]", []string{"192.0.2.0/24"}},
		{"mode: iptables\nnodePortAddresses: [0.0.0.0/0]", []string{"0.0.0.0/0", "127.0.0.0/8"}},
		{"mode: iptables\nnodePortAddresses: [192.0.2.0/24, 127.0.0.1/32]", []string{"192.0.2.0/24", "127.0.0.1/32", "127.0.0.0/8"}},
		{"mode: iptables\nnodePortAddresses: ['::/0']", []string{"::/0", "0.0.0.0/0", "127.0.0.0/8"}},
		{"mode: iptables\nnodePortAddresses: [primary]", []string{"primary"}},
		{"mode: ipvs\nnodePortAddresses: [primary]", []string{"primary"}},
	} {
		c := loadFile(t, test.lines)
		require.Equal(t, test.want, c.Nodelocal(nil).NodePortAddresses, test.lines)
	}
}
