// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/sysctl"
)

// load returns the configuration of a command line, and writes the log to w.
func load(args []string, w io.Writer) (*Config, error) {
	fs := flag.NewFlagSet("kube-proxy", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o, err := Parse(fs, args)
	if err != nil {
		return nil, err
	}
	return o.Load(slog.New(slog.NewTextHandler(w, nil)))
}

func TestFlagsOfKubeProxy(t *testing.T) {
	c, err := load([]string{
		"--hostname-override= Node-1 ", "--proxy-mode", "nftables", "--cluster-cidr=10.244.0.0/16,fd00:244::/32",
		"--nodeport-addresses=10.0.0.0/8,primary", "--bind-address=192.0.2.1", "--healthz-bind-address=", "--metrics-bind-address=:9090",
		"--masquerade-all", "--v=4", "--oom-score-adj=-998", "--ipvs-strict-arp", "--conntrack-min=0",
	}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"--ipvs-strict-arp", "--oom-score-adj"}, c.Ignored())
	require.Zero(t, *c.file.Conntrack.Min)
	require.Nil(t, c.file.Conntrack.MaxPerCore)
	require.Empty(t, c.HealthzAddress())
	require.Equal(t, "127.0.0.1:9090", c.MetricsAddress())
	cfg := c.Nodelocal(nil)
	require.Equal(t, "node-1", cfg.NodeName)
	require.Equal(t, netip.MustParseAddr("192.0.2.1"), cfg.NodeIP)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}, cfg.LocalPods.ClusterCIDRs)
	require.Equal(t, []string{"10.0.0.0/8", nodelocal.KeywordPrimary}, cfg.NodePortAddresses)
	require.True(t, cfg.MasqueradeAll)
	require.Zero(t, cfg.MinInterval)
	require.EqualValues(t, 0x4000, c.NFTables(nil).MasqueradeMark)
}

func TestFeatureGateOfExternalIPs(t *testing.T) {
	for _, row := range []struct {
		args    string
		file    string
		ignore  bool
		ignored []string
	}{
		{args: ""},
		{args: "--feature-gates=AllowServiceExternalIPs=false", ignore: true},
		{args: "--feature-gates=AllowServiceExternalIPs=true"},
		{args: "--feature-gates=Other=true,AllowServiceExternalIPs=f", ignore: true, ignored: []string{"featureGates.Other"}},
		{args: "--feature-gates=AllowServiceExternalIPs=false --feature-gates=AllowServiceExternalIPs=true"},
		{file: "featureGates: {AllowServiceExternalIPs: false}", ignore: true},
		{file: "featureGates: {AllowServiceExternalIPs: true, Other: false}", ignored: []string{"featureGates.Other"}},
		{file: "featureGates: {}", args: "--feature-gates=AllowServiceExternalIPs=false"}, // the file is the configuration
	} {
		args := append(strings.Fields(row.args), "--hostname-override=n")
		if row.file != "" {
			path := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(path, []byte("apiVersion: "+apiVersion+"\nkind: "+kind+"\n"+row.file), 0o600))
			args = append(args, "--config", path)
		}
		c, err := load(args, io.Discard)
		require.NoError(t, err, row)
		require.Equal(t, row.ignore, c.Nodelocal(nil).IgnoreExternalIPs, row)
		require.Equal(t, row.ignored, c.Ignored(), row)
	}
	_, err := load([]string{"--feature-gates=AllowServiceExternalIPs"}, io.Discard)
	require.ErrorContains(t, err, "want GATE=true or GATE=false")
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

// TestConfigurationFileReplacesFlags checks that only --hostname-override has an effect
// beside a file, and that unknown fields are logged.
func TestConfigurationFileReplacesFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(file, []byte(kubeadm), 0o600))
	var log bytes.Buffer
	c, err := load([]string{"--config", file, "--hostname-override=NODE-7", "--cluster-cidr=192.168.0.0/16"}, &log)
	require.NoError(t, err)
	require.Contains(t, log.String(), "misspelt")
	require.Equal(t, "0.0.0.0:10256", c.HealthzAddress())
	require.Equal(t, "0.0.0.0:10249", c.MetricsAddress())
	require.Equal(t, "/var/lib/kube-proxy/kubeconfig.conf", c.Client().Kubeconfig)
	require.EqualValues(t, 1<<15, c.NFTables(nil).MasqueradeMark)
	cfg := c.Nodelocal(nil)
	require.Equal(t, "node-7", cfg.NodeName)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, cfg.LocalPods.ClusterCIDRs)
	require.Equal(t, 2*time.Second, cfg.MinInterval)
	require.Equal(t, 20*time.Second, cfg.MaxBackoff)
	require.Empty(t, c.Ignored())
}

func TestErrorNamesEachInvalidField(t *testing.T) {
	_, err := load([]string{"--proxy-mode=iptables", "--cluster-cidr=10.0.0.0/8,10.1.0.0/16", "--bind-address=x",
		"--detect-local-mode=BridgeInterface", "--metrics-bind-address=node:1:2"}, io.Discard)
	for _, part := range []string{
		`mode: "iptables" is not supported, want one of: nftables`, "clusterCIDR: 10.0.0.0/8 and 10.1.0.0/16",
		"bindAddress:", "detectLocal.bridgeInterface:", "metricsBindAddress:",
	} {
		require.ErrorContains(t, err, part)
	}
	_, err = load([]string{"--no-such-flag"}, io.Discard)
	require.ErrorContains(t, err, "no-such-flag")
	_, err = load([]string{"--hostname-override=   "}, io.Discard)
	require.ErrorContains(t, err, "hostname-override")
}

// writeFile writes a configuration file with the given lines and returns its path.
func writeFile(t *testing.T, lines string) string {
	name := filepath.Join(t.TempDir(), "config")
	head := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
	require.NoError(t, os.WriteFile(name, []byte(head+lines), 0o600))
	return name
}

// TestIN09NodeName checks the order of sources (flag, file, host) and that the name is
// trimmed and in lower case.
func TestIN09NodeName(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	for _, row := range []struct{ id, flag, file, want, err string }{
		{"IN-09 the host name", "", "", strings.ToLower(host), ""},
		{"6.7 Config API IN-09 the name in the file", "", "Foo", "foo", ""},
		{"6.7 Config API IN-09 an empty flag keeps the name in the file", "--hostname-override=", "foo", "foo", ""},
		{"6.7 Config API IN-09 the flag wins", "--hostname-override=  Bar ", "foo", "bar", ""},
		{"6.7 Config API IN-09 a blank flag wins, and is no name", "--hostname-override=   ", "foo", "", "name of the node is empty"},
	} {
		t.Run(row.id, func(t *testing.T) {
			var args []string
			if row.flag != "" {
				args = append(args, row.flag)
			}
			if row.file != "" {
				args = append(args, "--config="+writeFile(t, "hostnameOverride: "+row.file+"\n"))
			}
			c, err := load(args, io.Discard)
			if row.err != "" {
				require.ErrorContains(t, err, row.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, row.want, c.Nodelocal(nil).NodeName)
		})
	}
}

func TestFieldsOfTheConfigurationFile(t *testing.T) {
	for _, row := range []struct{ id, file, bind, healthz, metrics string }{
		{"6.7 Config API IPv4", "bindAddress: 9.8.7.6\nhealthzBindAddress: 1.2.3.4:12345\nmetricsBindAddress: 2.3.4.5:23456\n", "9.8.7.6", "1.2.3.4:12345", "2.3.4.5:23456"},
		{"6.7 Config API all addresses", "bindAddress: 0.0.0.0\nhealthzBindAddress: 0.0.0.0:12345\nmetricsBindAddress: 0.0.0.0:23456\n", "0.0.0.0", "0.0.0.0:12345", "0.0.0.0:23456"},
		{"6.7 Config API IPv6", "bindAddress: 2001:db8::1\nhealthzBindAddress: '[fd00:1::5]:12345'\nmetricsBindAddress: '[fd00:2::5]:23456'\n", "2001:db8::1", "[fd00:1::5]:12345", "[fd00:2::5]:23456"},
		{"6.7 Config API all IPv6 addresses", "bindAddress: '::'\nhealthzBindAddress: '[::]:12345'\nmetricsBindAddress: '[::]:23456'\n", "::", "[::]:12345", "[::]:23456"},
		{"6.7 Config API in brackets", "bindAddress: '[::]'\nhealthzBindAddress: '[::]'\nmetricsBindAddress: ':9090'\n", "::", "[::]:10256", "127.0.0.1:9090"},
		{"6.7 Config API nothing", "", "0.0.0.0", "0.0.0.0:10256", "127.0.0.1:10249"},
		{"6.7 Config API an unknown field is logged", "odd: bar\nbindAddress: 9.8.7.6\n", "9.8.7.6", "0.0.0.0:10256", "127.0.0.1:10249"},
		{"6.7 Config API a duplicate field is logged", "enableProfiling: true\nbindAddress: 9.8.7.6\nenableProfiling: true\n", "9.8.7.6", "0.0.0.0:10256", "127.0.0.1:10249"},
	} {
		t.Run(row.id, func(t *testing.T) {
			var log bytes.Buffer
			c, err := load([]string{"--config=" + writeFile(t, row.file)}, &log)
			require.NoError(t, err)
			require.Equal(t, netip.MustParseAddr(row.bind), c.Nodelocal(nil).NodeIP)
			require.Equal(t, row.healthz, c.HealthzAddress())
			require.Equal(t, row.metrics, c.MetricsAddress())
			require.Equal(t, strings.Contains(row.id, "logged"), strings.Contains(log.String(), "Configuration file has unknown or duplicate fields"))
		})
	}
	for id, args := range map[string][]string{
		"6.7 Config API another kind":      {"--config=" + writeFile(t, "kind: Pod\n")},
		"6.7 Config API no file":           {"--config=/nowhere"},
		"6.7 Config API an address":        {"--config=" + writeFile(t, "bindAddress: 1.2.3.400\n")},
		"6.7 Config API a bit":             {"--config=" + writeFile(t, "nftables: {masqueradeBit: 32}\n")},
		"6.7 Config API a negative period": {"--config=" + writeFile(t, "nftables: {minSyncPeriod: -1s}\n")},
		"6.7 Config API a mode":            {"--config=" + writeFile(t, "detectLocalMode: Guess\n")},
	} {
		t.Run(id, func(t *testing.T) {
			_, err := load(args, io.Discard)
			require.Error(t, err)
		})
	}
	t.Run("IN-81 primary is the default", func(t *testing.T) {
		c, err := load(nil, io.Discard)
		require.NoError(t, err)
		require.Equal(t, "nftables", c.Mode())
		require.Empty(t, c.Nodelocal(nil).NodePortAddresses, "none means primary")
	})
	for mode, want := range map[string]nodelocal.PodDetection{
		"":                    {ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
		"ClusterCIDR":         {ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}},
		"NodeCIDR":            {NodeCIDR: true},
		"BridgeInterface":     {Interface: "cni0"},
		"InterfaceNamePrefix": {InterfacePrefix: "cali"},
	} {
		t.Run("6.7 getLocalDetectors mode "+mode, func(t *testing.T) {
			c, err := load([]string{"--config=" + writeFile(t, "clusterCIDR: 10.0.0.0/8,fd00::/8\ndetectLocalMode: \""+mode+
				"\"\ndetectLocal: {bridgeInterface: cni0, interfaceNamePrefix: cali}\n")}, io.Discard)
			require.NoError(t, err)
			require.Equal(t, want, c.Nodelocal(nil).LocalPods)
		})
	}
}

func TestVerbosity(t *testing.T) {
	for level, verbose := range map[string]bool{"--v=0": false, "--v=1": false, "--v=2": true, "--v=4": true} {
		fs := flag.NewFlagSet("kube-proxy", flag.ContinueOnError)
		o, err := Parse(fs, []string{level})
		require.NoError(t, err)
		require.Equal(t, verbose, o.Verbose(), level)
	}
}

func TestConnectionToTheAPIServer(t *testing.T) {
	c, err := load([]string{"--kubeconfig=f", "--master=https://192.0.2.1"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, kubeclient.Config{Kubeconfig: "f", Master: "https://192.0.2.1"}, c.Client())
	c, err = load([]string{"--config=" + writeFile(t, "clientConnection: {kubeconfig: g, qps: 5, burst: 7}\n")}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, kubeclient.Config{Kubeconfig: "g", QPS: 5, Burst: 7}, c.Client())
}

func TestHealthTimeoutIsTwoSyncPeriods(t *testing.T) {
	c, err := New(Configuration{HostnameOverride: "n"}, nil)
	require.NoError(t, err)
	require.Equal(t, time.Minute, c.HealthTimeout())
}

func TestOP30ConfigzHasDefaults(t *testing.T) {
	c, err := New(Configuration{}, func() (string, error) { return "Node-1", nil })
	require.NoError(t, err)
	data, err := json.Marshal(c.Configuration())
	require.NoError(t, err)
	require.Contains(t, string(data), `"mode":"nftables"`)
	require.Contains(t, string(data), `"hostnameOverride":"node-1"`)
	require.Contains(t, string(data), `"healthzBindAddress":"0.0.0.0:10256"`)
}

func TestConntrackMax(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	for _, row := range []struct {
		perCore, least *int32
		cpus, want     int
	}{
		{nil, nil, 2, 131072},
		{nil, nil, 8, 262144},
		{n(67890), n(0), 3, 203670},
		{n(1), n(123456), 3, 123456},
		{n(0), n(123456), 3, 0},
		{nil, nil, 512, 1 << 20},
		{n(67890), n(1 << 30), 3, 1 << 30},
	} {
		t.Run(fmt.Sprintf("6.7 TestGetConntrackMax KN-01 %d of %d processors", row.want, row.cpus), func(t *testing.T) {
			c, err := New(Configuration{HostnameOverride: "n", Conntrack: Conntrack{MaxPerCore: row.perCore, Min: row.least}}, nil)
			require.NoError(t, err)
			require.Equal(t, row.want, c.Conntrack(row.cpus).Max)
		})
	}
}

func TestKN02ConntrackDefaults(t *testing.T) {
	c, err := load([]string{"--hostname-override=n", "--conntrack-udp-timeout=1m"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, sysctl.Conntrack{
		Max: 131072, TCPEstablishedTimeout: 24 * time.Hour, TCPCloseWaitTimeout: time.Hour, UDPTimeout: time.Minute,
	}, c.Conntrack(2))
	c, err = load([]string{"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0s",
		"--conntrack-udp-timeout-stream=2m", "--conntrack-tcp-be-liberal"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, sysctl.Conntrack{UDPStreamTimeout: 2 * time.Minute, TCPBeLiberal: true}, c.Conntrack(2))
}
