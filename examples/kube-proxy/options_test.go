// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal"
)

// TestFlags: kube-proxy's flags are read as users of kube-proxy write them.
func TestFlags(t *testing.T) {
	o, log, err := parse([]string{
		"--hostname-override= Node-1 ", "--proxy-mode", "nftables", "--cluster-cidr=10.244.0.0/16,fd00:244::/32",
		"--nodeport-addresses=10.0.0.0/8,primary", "--bind-address=192.0.2.1", "--healthz-bind-address=", "--metrics-bind-address=:9090",
		"--masquerade-all", "--v=4", "--oom-score-adj=-998", "--ipvs-strict-arp", "--conntrack-min=0",
	}, io.Discard)
	require.NoError(t, err)
	require.NotNil(t, log)
	require.Equal(t, []string{"--ipvs-strict-arp", "--oom-score-adj"}, o.ignored)
	require.Zero(t, *o.Conntrack.Min)
	require.Nil(t, o.Conntrack.MaxPerCore)
	require.Empty(t, o.HealthzBindAddress)
	require.Equal(t, "127.0.0.1:9090", o.MetricsBindAddress)
	cfg := o.nodelocal(nil)
	require.Equal(t, "node-1", cfg.NodeName)
	require.Equal(t, netip.MustParseAddr("192.0.2.1"), cfg.NodeIP)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}, cfg.LocalPods.ClusterCIDRs)
	require.Equal(t, []string{"10.0.0.0/8", nodelocal.KeywordPrimary}, cfg.NodePortAddresses)
	require.True(t, cfg.MasqueradeAll)
	require.Zero(t, cfg.MinInterval)
	require.EqualValues(t, 0x4000, o.masqueradeMark())
}

const kubeadm = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
metricsBindAddress: 0.0.0.0
mode: nftables
nftables: {masqueradeBit: 15, masqueradeAll: true, minSyncPeriod: 2s, syncPeriod: 20s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
misspelt: true
`

// TestConfigurationFile: a file counts, flags beside it do not, but for the node's name;
// unknown fields are logged and harmless.
func TestConfigurationFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(kubeadm), 0o600))
	var log bytes.Buffer
	o, _, err := parse([]string{"--config", file, "--hostname-override=NODE-7", "--cluster-cidr=192.168.0.0/16"}, &log)
	require.NoError(t, err)
	require.Contains(t, log.String(), "misspelt")
	require.Equal(t, "0.0.0.0:10256", o.HealthzBindAddress)
	require.Equal(t, "0.0.0.0:10249", o.MetricsBindAddress)
	require.Equal(t, "/var/lib/kube-proxy/kubeconfig.conf", o.ClientConnection.Kubeconfig)
	require.EqualValues(t, 1<<15, o.masqueradeMark())
	cfg := o.nodelocal(nil)
	require.Equal(t, "node-7", cfg.NodeName)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, cfg.LocalPods.ClusterCIDRs)
	require.Equal(t, 2*time.Second, cfg.MinInterval)
	require.Equal(t, 20*time.Second, cfg.MaxBackoff)
	require.Empty(t, o.ignored)
}

// TestBadSettings: each wrong value is named, all at once.
func TestBadSettings(t *testing.T) {
	_, _, err := parse([]string{"--proxy-mode=iptables", "--cluster-cidr=10.0.0.0/8,10.1.0.0/16", "--bind-address=x",
		"--detect-local-mode=BridgeInterface", "--metrics-bind-address=node:1:2"}, io.Discard)
	for _, part := range []string{
		`mode: "iptables" cannot be run; it must be one of: nftables`, "clusterCIDR: 10.0.0.0/8 and 10.1.0.0/16",
		"bindAddress:", "detectLocal.bridgeInterface:", "metricsBindAddress:",
	} {
		require.ErrorContains(t, err, part)
	}
	_, _, err = parse([]string{"--no-such-flag"}, io.Discard)
	require.ErrorContains(t, err, "no-such-flag")
	_, _, err = parse([]string{"--hostname-override=   "}, io.Discard)
	require.ErrorContains(t, err, "hostname-override")
}

// fileWith writes a configuration file and returns its name.
func fileWith(t *testing.T, lines string) string {
	name := filepath.Join(t.TempDir(), "config")
	head := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
	require.NoError(t, os.WriteFile(name, []byte(head+lines), 0o600))
	return name
}

// TestIN09NodeName: the flag, then the file, then the host, in lower case and trimmed.
func TestIN09NodeName(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	for _, row := range []struct{ id, flag, file, want, err string }{
		{"IN-09 the host's name", "", "", strings.ToLower(host), ""},
		{"6.7 Config API IN-09 the file's", "", "Foo", "foo", ""},
		{"6.7 Config API IN-09 an empty flag keeps the file's", "--hostname-override=", "foo", "foo", ""},
		{"6.7 Config API IN-09 the flag wins", "--hostname-override=  Bar ", "foo", "bar", ""},
		{"6.7 Config API IN-09 blanks win, and are no name", "--hostname-override=   ", "foo", "", "the node's name is empty"},
	} {
		t.Run(row.id, func(t *testing.T) {
			var args []string
			if row.flag != "" {
				args = append(args, row.flag)
			}
			if row.file != "" {
				args = append(args, "--config="+fileWith(t, "hostnameOverride: "+row.file+"\n"))
			}
			o, _, err := parse(args, io.Discard)
			if row.err != "" {
				require.ErrorContains(t, err, row.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, o.nodelocal(nil).NodeName)
		})
	}
}

// TestConfigAPI: what the file of kube-proxy may hold.
func TestConfigAPI(t *testing.T) {
	for _, row := range []struct{ id, file, bind, healthz, metrics string }{
		{"6.7 Config API IPv4", "bindAddress: 9.8.7.6\nhealthzBindAddress: 1.2.3.4:12345\nmetricsBindAddress: 2.3.4.5:23456\n", "9.8.7.6", "1.2.3.4:12345", "2.3.4.5:23456"},
		{"6.7 Config API all addresses", "bindAddress: 0.0.0.0\nhealthzBindAddress: 0.0.0.0:12345\nmetricsBindAddress: 0.0.0.0:23456\n", "0.0.0.0", "0.0.0.0:12345", "0.0.0.0:23456"},
		{"6.7 Config API IPv6", "bindAddress: 2001:db8::1\nhealthzBindAddress: '[fd00:1::5]:12345'\nmetricsBindAddress: '[fd00:2::5]:23456'\n", "2001:db8::1", "[fd00:1::5]:12345", "[fd00:2::5]:23456"},
		{"6.7 Config API all IPv6 addresses", "bindAddress: '::'\nhealthzBindAddress: '[::]:12345'\nmetricsBindAddress: '[::]:23456'\n", "::", "[::]:12345", "[::]:23456"},
		{"6.7 Config API in brackets", "bindAddress: '[::]'\nhealthzBindAddress: '[::]'\nmetricsBindAddress: ':9090'\n", "::", "[::]:10256", "127.0.0.1:9090"},
		{"6.7 Config API nothing", "", "0.0.0.0", "0.0.0.0:10256", "127.0.0.1:10249"},
		{"6.7 Config API an unknown field is logged", "odd: bar\nbindAddress: 9.8.7.6\n", "9.8.7.6", "0.0.0.0:10256", "127.0.0.1:10249"},
		{"6.7 Config API a doubled field is logged", "enableProfiling: true\nbindAddress: 9.8.7.6\nenableProfiling: true\n", "9.8.7.6", "0.0.0.0:10256", "127.0.0.1:10249"},
	} {
		t.Run(row.id, func(t *testing.T) {
			var log bytes.Buffer
			o, _, err := parse([]string{"--config=" + fileWith(t, row.file)}, &log)
			require.NoError(t, err)
			require.Equal(t, netip.MustParseAddr(row.bind), o.nodelocal(nil).NodeIP)
			require.Equal(t, row.healthz, o.HealthzBindAddress)
			require.Equal(t, row.metrics, o.MetricsBindAddress)
			require.Equal(t, strings.Contains(row.id, "logged"), strings.Contains(log.String(), "Configuration file has fields"))
		})
	}
	for id, args := range map[string][]string{
		"6.7 Config API another kind": {"--config=" + fileWith(t, "kind: Pod\n")},
		"6.7 Config API no file":      {"--config=/nowhere"},
		"6.7 Config API an address":   {"--config=" + fileWith(t, "bindAddress: 1.2.3.400\n")},
		"6.7 Config API a bit":        {"--config=" + fileWith(t, "nftables: {masqueradeBit: 32}\n")},
		"6.7 Config API a period":     {"--config=" + fileWith(t, "nftables: {minSyncPeriod: -1s}\n")},
		"6.7 Config API a mode":       {"--config=" + fileWith(t, "detectLocalMode: Guess\n")},
	} {
		t.Run(id, func(t *testing.T) {
			_, _, err := parse(args, io.Discard)
			require.Error(t, err)
		})
	}
	t.Run("IN-81 primary is the default", func(t *testing.T) {
		o, _, err := parse(nil, io.Discard)
		require.NoError(t, err)
		require.Equal(t, "nftables", o.Mode)
		require.Empty(t, o.nodelocal(nil).NodePortAddresses, "which means primary")
	})
	for mode, want := range map[string]nodelocal.PodDetection{
		"":                    {ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
		"ClusterCIDR":         {ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
		"NodeCIDR":            {NodeCIDR: true},
		"BridgeInterface":     {Interface: "cni0"},
		"InterfaceNamePrefix": {InterfacePrefix: "cali"},
	} {
		t.Run("6.7 getLocalDetectors mode "+mode, func(t *testing.T) {
			o, _, err := parse([]string{"--config=" + fileWith(t, "clusterCIDR: 10.0.0.0/8,fd00::/8\ndetectLocalMode: \""+mode+
				"\"\ndetectLocal: {bridgeInterface: cni0, interfaceNamePrefix: cali}\n")}, io.Discard)
			require.NoError(t, err)
			require.Equal(t, want, o.nodelocal(nil).LocalPods)
		})
	}
}
