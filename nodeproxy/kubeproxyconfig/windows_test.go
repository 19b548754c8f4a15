// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
	"k8s.io/kube-proxy/config/v1alpha1"

	"sigs.k8s.io/kpng/backends/hns"
)

// loadWindows loads a command line as on Windows.
func loadWindows(args ...string) (*Config, error) {
	fs := pflag.NewFlagSet("kube-proxy", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o, err := ParseFor(fs, append(args, "--hostname-override=node-1"), "windows")
	if err != nil {
		return nil, err
	}
	return o.Load()
}

func TestWindowsFlags(t *testing.T) {
	c, err := loadWindows()
	require.NoError(t, err)
	require.Equal(t, ModeKernelspace, c.Mode())
	require.Equal(t, hns.Config{IgnoreSourceRanges: true, PollInterval: 30 * time.Second}, c.HNS(nil))
	require.Equal(t, []string{"all"}, c.Nodelocal(nil).NodePortAddresses)
	require.False(t, c.RunsAsService())
	require.Empty(t, c.Ignored())

	c, err = loadWindows("--proxy-mode=kernelspace", "--network-name=vxlan0", "--source-vip=10.244.0.2", "--enable-dsr", "--windows-service",
		"--forward-healthcheck-vip", "--iptables-sync-period=40s", "--healthz-bind-address=0.0.0.0:1234")
	require.NoError(t, err)
	require.Equal(t, hns.Config{
		Network: "vxlan0", SourceVIP: netip.MustParseAddr("10.244.0.2"), EnableDSR: true, IgnoreSourceRanges: true,
		HealthCheckEndpoint: "cbr0", HealthCheckPort: 1234, PollInterval: 40 * time.Second,
	}, c.HNS(nil))
	require.True(t, c.RunsAsService())

	for want, arg := range map[string]string{
		"must be one of kernelspace": "--proxy-mode=nftables", "winkernel.sourceVip": "--source-vip=none", "unknown flag": "--no-such-flag",
	} {
		_, err = loadWindows(arg)
		require.ErrorContains(t, err, want)
	}
}

func TestWindowsFile(t *testing.T) {
	c, err := loadWindows("--config=" + writeFile(t, `
windowsRunAsService: true
winkernel: {enableDSR: true, forwardHealthCheckVip: true, networkName: net, rootHnsEndpointName: r, sourceVip: "fd00::2"}
ipvs: {scheduler: rr}
`))
	require.NoError(t, err)
	require.Equal(t, hns.Config{
		Network: "net", SourceVIP: netip.MustParseAddr("fd00::2"), EnableDSR: true, IgnoreSourceRanges: true,
		HealthCheckEndpoint: "r", HealthCheckPort: 10256, PollInterval: 30 * time.Second,
	}, c.HNS(nil))
	require.True(t, c.RunsAsService())
	require.Equal(t, []string{"ipvs.scheduler=rr"}, c.Ignored())
}

// The file has the defaults of the flags, and addresses may have leading zeros, as for kube-proxy.
func TestWindowsFileDefaults(t *testing.T) {
	c, err := loadWindows("--config=" + writeFile(t, `winkernel: {forwardHealthCheckVip: true, sourceVip: 010.244.0.2}`))
	require.NoError(t, err)
	require.Equal(t, "cbr0", c.HNS(nil).HealthCheckEndpoint)
	require.Equal(t, "10.244.0.2", c.HNS(nil).SourceVIP.String())
	require.Empty(t, c.Ignored())
}

// On Linux, the mode and the flags do not exist, and the settings have no effect.
func TestWindowsSettingsOnLinux(t *testing.T) {
	_, err := load([]string{"--proxy-mode=kernelspace"}, io.Discard)
	require.ErrorContains(t, err, "must be one of iptables, ipvs, nftables")
	_, err = load([]string{"--network-name=n"}, io.Discard)
	require.ErrorContains(t, err, "unknown flag")
	c := loadFile(t, "winkernel: {networkName: net}\nwindowsRunAsService: true")
	require.Equal(t, []string{"windowsRunAsService=true", "winkernel.networkName=net"}, c.Ignored())
	c, err = New(v1alpha1.KubeProxyConfiguration{Mode: ModeKernelspace}, func() (string, error) { return "node-1", nil })
	require.NoError(t, err)
	require.Equal(t, ModeKernelspace, c.Mode())
}
