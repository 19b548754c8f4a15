// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// FuzzFile loads a configuration file. An accepted file configures the backend of each mode, and the
// configuration that is written from it loads again, with equal values.
func FuzzFile(f *testing.F) {
	const head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
	for _, lines := range []string{
		"", "mode: iptables\niptables: {masqueradeBit: 14, localhostNodePorts: true, syncPeriod: 10s, minSyncPeriod: 1s}\n",
		"mode: ipvs\nipvs: {scheduler: rr, strictARP: true, tcpTimeout: 5s, excludeCIDRs: [10.0.0.0/8]}\nunknown: 1\n",
		"mode: nftables\nnftables: {masqueradeBit: 14}\nclusterCIDR: 10.244.0.0/16,fd00::/64\ndetectLocalMode: ClusterCIDR\n",
		"mode: ebpf\nhostnameOverride: \" Node-1 \"\nbindAddress: ::\nhealthzBindAddress: '10256'\nmetricsBindAddress: 127.0.0.1\n",
		"nodePortAddresses: [primary]\nfeatureGates: {AllowServiceExternalIPs: false}\nconntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s}\n",
		"clientConnection: {kubeconfig: /x, qps: 5, burst: 10}\nconfigSyncPeriod: 1h\noomScoreAdj: -999\nportRange: 1-2\nlogging: {format: json, verbosity: 9}\n",
	} {
		f.Add([]byte(head + lines))
	}
	f.Add([]byte("{"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "config")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		c, err := loadLinux(path)
		if err != nil {
			return
		}
		logger := slog.New(slog.DiscardHandler)
		c.Log(logger)
		c.NFTables(logger)
		c.IPTables(logger)
		c.IPVS(logger)
		c.Nodelocal(logger)
		c.Kube(logger)
		c.Client()
		c.Conntrack(2)
		c.HealthTimeout()

		written := filepath.Join(dir, "written")
		require.NoError(t, c.WriteFile(written))
		again, err := loadLinux(written)
		require.NoError(t, err)
		require.Equal(t, c.Configuration(), again.Configuration())
		require.Equal(t, c.NodeName(), again.NodeName())
	})
}

// loadLinux loads a configuration file for Linux.
func loadLinux(path string) (*Config, error) {
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o, err := ParseFor(fs, []string{"--config=" + path}, "linux")
	if err != nil {
		return nil, err
	}
	return o.Load()
}
