// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"k8s.io/kube-proxy/config/v1alpha1"

	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/kubeclient"
	"sigs.k8s.io/kpng/nodeproxy/sysctl"
)

// load returns the configuration of a command line, and writes the log to w.
func load(args []string, w io.Writer) (*Config, error) {
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetOutput(w)
	o, err := ParseFor(fs, args, "linux")
	if err != nil {
		return nil, err
	}
	c, err := o.Load()
	if err != nil {
		return nil, err
	}
	c.Log(slog.New(slog.NewTextHandler(w, nil)))
	return c, nil
}

func TestFlagsOfKubeProxy(t *testing.T) {
	c, err := load([]string{
		"--hostname-override= Node-1 ", "--proxy-mode", "nftables", "--cluster-cidr=10.244.0.0/16,fd00:244::/32",
		"--nodeport-addresses=10.0.0.0/8,primary", "--bind_address=192.0.2.1", "--healthz-port=0", "--metrics-bind-address=0.0.0.0",
		"--metrics-port=9090", "--masquerade-all", "-v=4", "--oom-score-adj=-998", "--ipvs-strict-arp", "--conntrack-min=0",
		"--iptables-sync-period=20s", "--iptables-min-sync-period=2s", "--bind-address-hard-fail", "--kube-api-qps=7", "--kube-api-burst=8",
		"--kube-api-content-type=application/json", "--feature-gates=AllAlpha=true",
	}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"ipvs.strictARP=true", "featureGates.AllAlpha=true"}, c.Ignored())
	require.Zero(t, *c.Configuration().Conntrack.Min)
	require.EqualValues(t, 32768, *c.Configuration().Conntrack.MaxPerCore)
	require.Empty(t, c.HealthzAddress())
	require.Equal(t, "0.0.0.0:9090", c.MetricsAddress())
	require.True(t, c.Verbose())
	require.True(t, c.BindAddressHardFail())
	require.Equal(t, -998, c.OOMScoreAdj())
	require.Equal(t, kubeclient.Config{QPS: 7, Burst: 8, ContentType: "application/json"}, c.Client())
	cfg := c.Nodelocal(nil)
	require.Equal(t, "node-1", cfg.NodeName)
	require.Equal(t, netip.MustParseAddr("192.0.2.1"), cfg.NodeIP)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:244::/32")}, cfg.LocalPods.ClusterCIDRs)
	require.Equal(t, []string{"10.0.0.0/8", nodelocal.KeywordPrimary}, cfg.NodePortAddresses)
	require.True(t, cfg.MasqueradeAll)
	require.Equal(t, 2*time.Second, cfg.MinInterval)
	require.Equal(t, 20*time.Second, cfg.MaxBackoff)
	require.Equal(t, 40*time.Second, c.HealthTimeout())
	require.EqualValues(t, 0x4000, c.NFTables(nil).MasqueradeMark)
	require.Equal(t, "7", c.Flags()["kube-api-qps"])
}

func TestFeatureGates(t *testing.T) {
	for _, row := range []struct {
		args    string
		file    string
		ignore  bool
		ignored []string
	}{
		{args: ""},
		{args: "--feature-gates=AllowServiceExternalIPs=false", ignore: true},
		{args: "--feature-gates=AllowServiceExternalIPs=true"},
		{args: "--feature-gates=HPAScaleToZero=false,AllowServiceExternalIPs=f", ignore: true, ignored: []string{"featureGates.HPAScaleToZero=false"}},
		{args: "--feature-gates=AllowServiceExternalIPs=false --feature-gates=AllowServiceExternalIPs=true"},
		{file: "featureGates: {AllowServiceExternalIPs: false}", ignore: true},
		{file: "featureGates: {AllowServiceExternalIPs: true, HPAScaleToZero: true}"},     // their defaults
		{file: "featureGates: {}", args: "--feature-gates=AllowServiceExternalIPs=false"}, // the file is the configuration
	} {
		args := append(strings.Fields(row.args), "--hostname-override=n")
		if row.file != "" {
			args = append(args, "--config", writeFile(t, row.file))
		}
		c, err := load(args, io.Discard)
		require.NoError(t, err, row)
		require.Equal(t, row.ignore, c.Nodelocal(nil).IgnoreExternalIPs, row)
		require.Equal(t, row.ignored, c.Ignored(), row)
	}
	for args, want := range map[string]string{
		"--feature-gates=AllowServiceExternalIPs":                 "AllowServiceExternalIPs",
		"--feature-gates=NoSuchGate=true":                         "featureGates.NoSuchGate",
		"--feature-gates=AggregatedDiscoveryRemoveBetaType=false": "featureGates.AggregatedDiscoveryRemoveBetaType: locked to true",
	} {
		_, err := load([]string{args}, io.Discard)
		require.ErrorContains(t, err, want)
	}
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
	require.Contains(t, log.String(), "flags=--cluster-cidr")
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
	_, err := load([]string{"--config=" + writeFile(t, `mode: kernelspace
clusterCIDR: 10.0.0.0/8,10.1.0.0/16
bindAddress: x
healthzBindAddress: 1.2.3.4:70000
metricsBindAddress: node:1
conntrack: {maxPerCore: -1, min: -2, tcpEstablishedTimeout: -1s, tcpCloseWaitTimeout: -1s, udpTimeout: -1s, udpStreamTimeout: -1s}
nodePortAddresses: [primary, primary, 1.2.3.4, 10.0.0.0/8]
oomScoreAdj: -1001
configSyncPeriod: -1s
iptables: {masqueradeBit: 32, syncPeriod: 1s, minSyncPeriod: 2s}
clientConnection: {burst: -1}
showHiddenMetricsForVersion: "1"
logging: {format: xml, verbosity: 4294967295, flushFrequency: -1s, options: {text: {splitStream: true}}}
`)}, io.Discard)
	for _, field := range []string{
		"mode", "clusterCIDR", "bindAddress", "healthzBindAddress", "metricsBindAddress", "conntrack.maxPerCore", "conntrack.min",
		"conntrack.tcpEstablishedTimeout", "conntrack.tcpCloseWaitTimeout", "conntrack.udpTimeout", "conntrack.udpStreamTimeout",
		"nodePortAddresses[1]", "nodePortAddresses[2]", "oomScoreAdj", "configSyncPeriod", "iptables.masqueradeBit",
		"clientConnection.burst", "showHiddenMetricsForVersion", "logging.format", "logging.verbosity", "logging.flushFrequency",
		"logging.options.text.splitStream",
	} {
		require.ErrorContains(t, err, field+": ")
	}
	require.NotContains(t, err.Error(), "nodePortAddresses[3]")
	for args, want := range map[string]string{
		"--no-such-flag":                          "no-such-flag",
		"--hostname-override=   ":                 "hostname-override",
		"--bind-address=x":                        "bind-address",
		"--healthz-bind-address=1.2.3.4:99999":    "healthz-bind-address",
		"--metrics-port=0":                        "metricsBindAddress",
		"--detect-local-mode=BridgeInterface":     "detectLocal.bridgeInterface",
		"--detect-local-mode=InterfaceNamePrefix": "detectLocal.interfaceNamePrefix",
		"--detect-local-mode=Guess":               "detectLocalMode",
		"--cluster-cidr=10.0.0.0/8, fd00::/8":     "clusterCIDR",
		"--iptables-min-sync-period=31s":          "nftables.minSyncPeriod",
		"--iptables-sync-period=0":                "nftables.syncPeriod",
		"--conntrack-min=x":                       "conntrack-min",
	} {
		_, err := load([]string{args}, io.Discard)
		require.ErrorContains(t, err, want)
	}
}

// writeFile writes a configuration file with the given lines and returns its path.
func writeFile(t *testing.T, lines string) string {
	return writeText(t, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"+lines)
}

func writeText(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "config")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
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
		{"6.7 Config API IN-09 a blank flag wins, and is no name", "--hostname-override=   ", "foo", "", "--hostname-override: must not be blank"},
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
		{"6.7 Config API no ports", "bindAddress: '::'\nhealthzBindAddress: '::'\nmetricsBindAddress: '1.2.3.4'\n", "::", "[::]:10256", "1.2.3.4:10249"},
		{"6.7 Config API defaults for IPv6", "bindAddress: fd00::1\n", "fd00::1", "[::]:10256", "[::1]:10249"},
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
		"6.7 Config API another kind":      {"--config=" + writeText(t, "apiVersion: v1\nkind: Pod\n")},
		"6.7 Config API no kind":           {"--config=" + writeText(t, "mode: nftables\n")},
		"6.7 Config API not YAML":          {"--config=" + writeText(t, "mode: [\n")},
		"6.7 Config API another type":      {"--config=" + writeFile(t, "oomScoreAdj: x\n")},
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
		require.Equal(t, []string{nodelocal.KeywordPrimary}, c.Nodelocal(nil).NodePortAddresses)
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

// TestLoggingFlagsOverrideTheFile checks the only section of the file that flags change field by field.
func TestLoggingFlagsOverrideTheFile(t *testing.T) {
	file := "--config=" + writeFile(t, "logging: {verbosity: 1, format: json, flushFrequency: 7s}\n")
	for _, row := range []struct {
		args      []string
		verbosity int
		format    string
	}{
		{nil, 0, "text"},
		{[]string{"-v", "3", "--logging-format=json"}, 3, "json"},
		{[]string{file}, 1, "json"},
		{[]string{file, "--v=5", "--logging-format=text"}, 5, "text"},
	} {
		c, err := load(row.args, io.Discard)
		require.NoError(t, err)
		require.EqualValues(t, row.verbosity, c.Logging().Verbosity)
		require.Equal(t, row.format, c.Logging().Format)
		require.Equal(t, row.verbosity >= 2, c.Verbose())
	}
	c, err := load([]string{"--config=" + writeFile(t, "logging: {vmodule: [{filePattern: a, verbosity: 1}]}\n"), "--vmodule=b=2"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, c.Logging().VModule, 2)
	require.Equal(t, "b", c.Logging().VModule[0].FilePattern)
}

func TestConnectionToTheAPIServer(t *testing.T) {
	c, err := load([]string{"--kubeconfig=f", "--master=https://192.0.2.1"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, kubeclient.Config{
		Kubeconfig: "f", Master: "https://192.0.2.1", QPS: 5, Burst: 10, ContentType: "application/vnd.kubernetes.protobuf",
	}, c.Client())
	c, err = load([]string{"--config=" + writeFile(t, "clientConnection: {kubeconfig: g, qps: 6, burst: 7, contentType: application/json, acceptContentTypes: x/y}\n")}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, kubeclient.Config{Kubeconfig: "g", QPS: 6, Burst: 7, ContentType: "application/json", AcceptContentTypes: "x/y"}, c.Client())
}

func TestHealthTimeoutIsTwoSyncPeriods(t *testing.T) {
	c, err := New(v1alpha1.KubeProxyConfiguration{HostnameOverride: "n"}, nil)
	require.NoError(t, err)
	require.Equal(t, time.Minute, c.HealthTimeout())
}

func TestOP30ConfigzHasDefaults(t *testing.T) {
	c, err := New(v1alpha1.KubeProxyConfiguration{}, func() (string, error) { return "Node-1", nil })
	require.NoError(t, err)
	data, err := json.Marshal(c.Configuration())
	require.NoError(t, err)
	require.Contains(t, string(data), `"mode":"nftables"`)
	require.Equal(t, "node-1", c.NodeName())
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
			c, err := New(v1alpha1.KubeProxyConfiguration{HostnameOverride: "n", Conntrack: v1alpha1.KubeProxyConntrackConfiguration{MaxPerCore: row.perCore, Min: row.least}}, nil)
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

// TestSettingsWithoutEffectAreNamedOnce has a file of defaults, and one with every field that has no effect.
func TestSettingsWithoutEffectAreNamedOnce(t *testing.T) {
	var defaults bytes.Buffer
	c, err := load([]string{"--proxy-mode=nftables"}, io.Discard)
	require.NoError(t, err)
	require.NoError(t, c.Write(&defaults))
	var log bytes.Buffer
	c, err = load([]string{"--config=" + writeText(t, defaults.String())}, &log)
	require.NoError(t, err)
	require.Empty(t, c.Ignored())
	require.Empty(t, log.String())

	c, err = load([]string{"--config=" + writeFile(t, `mode: nftables
configSyncPeriod: 1m
iptables: {localhostNodePorts: false, masqueradeAll: true, masqueradeBit: 13, minSyncPeriod: 2s, syncPeriod: 3s}
ipvs: {excludeCIDRs: [10.0.0.0/8], minSyncPeriod: 2s, scheduler: rr, strictARP: true, syncPeriod: 3s, tcpFinTimeout: 1s, tcpTimeout: 1s, udpTimeout: 1s}
winkernel: {enableDSR: true, forwardHealthCheckVip: true, networkName: net, rootHnsEndpointName: r, sourceVip: 1.2.3.4}
logging: {flushFrequency: 6s, vmodule: [{filePattern: a, verbosity: 1}], options: {text: {splitStream: true, infoBufferSize: 1Ki}}}
featureGates: {LoggingAlphaOptions: true, HPAScaleToZero: false}
detectLocalMode: NodeCIDR
clusterCIDR: 10.0.0.0/8
detectLocal: {bridgeInterface: b, interfaceNamePrefix: p}
portRange: 1-2
showHiddenMetricsForVersion: "1.36"
windowsRunAsService: true
`)}, &log)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	for _, field := range c.Ignored() {
		require.Contains(t, log.String(), field)
	}
	require.Len(t, c.Ignored(), 30, "%v", c.Ignored())
}

// TestCountConnections: the flag, which kube-proxy does not have, also applies with a
// configuration file.
func TestCountConnections(t *testing.T) {
	for _, args := range [][]string{
		{"--count-connections=services", "--hostname-override=n"},
		{"--count-connections=services", "--hostname-override=n", "--config=" + writeFile(t, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n")},
	} {
		var log bytes.Buffer
		c, err := load(args, &log)
		require.NoError(t, err)
		require.Equal(t, "services", c.CountConnections())
		require.True(t, c.NFTables(nil).CountConnections)
		require.NotContains(t, log.String(), "count-connections", "it has an effect")
	}
	c, err := load([]string{"--hostname-override=n"}, io.Discard)
	require.NoError(t, err)
	require.False(t, c.NFTables(nil).CountConnections)
	c, err = load([]string{"--recent-rewrites=100", "--hostname-override=n"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 100, c.RecentRewrites())
	require.Empty(t, c.EBPFDevices())
	c, err = load([]string{"--ebpf-devices=eth*,bond0", "--ebpf-devices=ens3", "--hostname-override=n"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"eth*", "bond0", "ens3"}, c.EBPFDevices())
	_, err = load([]string{"--ebpf-devices=eth[0"}, io.Discard)
	require.EqualError(t, err, `--ebpf-devices: "eth[0" is not a pattern of names`)
	_, err = load([]string{"--recent-rewrites=-1"}, io.Discard)
	require.EqualError(t, err, "--recent-rewrites: -1 is out of range 0-65536")
	_, err = load([]string{"--count-connections=all"}, io.Discard)
	require.EqualError(t, err, `--count-connections: "all" is not services or endpoints`)
}

// TestProxyName: the flag, which kube-proxy does not have, also applies with a configuration
// file.
func TestProxyName(t *testing.T) {
	for _, args := range [][]string{
		{"--proxy-name=acme", "--hostname-override=n"},
		{"--proxy-name=acme", "--hostname-override=n", "--config=" + writeFile(t, "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n")},
	} {
		var log bytes.Buffer
		c, err := load(args, &log)
		require.NoError(t, err)
		require.Equal(t, "acme", c.Nodelocal(nil).ProxyName)
		require.Equal(t, "acme", c.Kube(nil).Filter.ProxyName)
		require.NotContains(t, log.String(), "proxy-name", "it has an effect")
	}
	_, err := load([]string{"--proxy-name=-"}, io.Discard)
	require.ErrorContains(t, err, `--proxy-name: ProxyName "-": not a valid label value`)
}
