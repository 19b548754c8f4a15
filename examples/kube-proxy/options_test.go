package main

import (
	"bytes"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sigs.k8s.io/kpng/localsink/nodelocal"
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
