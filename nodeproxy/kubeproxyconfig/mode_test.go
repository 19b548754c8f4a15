// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodeproxy/command"
)

// TestOtherModesKeepTheirSettings reads files as kubeadm writes them, with a mode for which
// there is no backend.
func TestOtherModesKeepTheirSettings(t *testing.T) {
	for mode, lines := range map[string]string{
		"iptables": "iptables: {masqueradeAll: true, masqueradeBit: 9, syncPeriod: 20s, minSyncPeriod: 2s}\nnftables: {syncPeriod: 40s}\n",
		"ipvs":     "iptables: {masqueradeAll: true, masqueradeBit: 9}\nipvs: {syncPeriod: 20s, minSyncPeriod: 2s, scheduler: sh}\n",
	} {
		var log strings.Builder
		configured, err := load([]string{"--config=" + writeFile(t, "hostnameOverride: node-1\nmode: "+mode+"\n"+lines)}, &log)
		require.NoError(t, err)
		require.Equal(t, mode, configured.Mode(), "for --cleanup and --write-config-to")
		require.NotContains(t, log.String(), "iptables.masquerade")
		require.NotContains(t, log.String(), mode+".syncPeriod")
		c := configured.ForNFTables(command.NewLogger(&log, false))
		require.Contains(t, log.String(), `msg="Proxy mode not available, using nftables" mode=`+mode)
		require.Equal(t, "nftables", c.Mode())
		require.Equal(t, mode, configured.Mode())
		require.EqualValues(t, 1<<9, c.NFTables(nil).MasqueradeMark)
		require.Equal(t, 40*time.Second, c.HealthTimeout())
		node := c.Nodelocal(nil)
		require.True(t, node.MasqueradeAll)
		require.Equal(t, 2*time.Second, node.MinInterval)
		require.Equal(t, 20*time.Second, node.MaxBackoff)
		require.Equal(t, []string{"all"}, node.NodePortAddresses)
		require.Equal(t, 20*time.Second, c.Configuration().NFTables.SyncPeriod.Duration)
		require.Contains(t, c.Configuration().NodePortAddresses, "all")
		if mode == "ipvs" {
			require.Contains(t, log.String(), "ipvs.scheduler=sh")
		}
	}
	c, err := load([]string{"--config=" + writeFile(t, "hostnameOverride: node-1\nmode: iptables\nnodePortAddresses: [192.0.2.0/24]\n")}, &strings.Builder{})
	require.NoError(t, err)
	require.Equal(t, []string{"192.0.2.0/24"}, c.ForNFTables(nil).Nodelocal(nil).NodePortAddresses)
}
