// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"net"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
	netutils "k8s.io/utils/net"
)

// Values of mode.
const (
	ModeNFTables = "nftables"
	ModeIPTables = "iptables"
	ModeIPVS     = "ipvs"
	// ModeKernelspace is the only mode on Windows, and exists there only.
	ModeKernelspace = "kernelspace"
	// ModeEBPF is a mode of this proxy only. Its settings are those of nftables.
	ModeEBPF = "ebpf"
)

// Values of detectLocalMode.
const (
	detectClusterCIDR     = "ClusterCIDR"
	detectNodeCIDR        = "NodeCIDR"
	detectBridgeInterface = "BridgeInterface"
	detectInterfacePrefix = "InterfaceNamePrefix"
)

const (
	healthzPort = 10256
	metricsPort = 10249

	defaultMasqueradeBit = 14
	defaultOOMScoreAdj   = -999
	defaultMaxPerCore    = 32 << 10
	defaultMinConntrack  = 128 << 10
	defaultSyncPeriod    = 30 * time.Second
)

// usesNFTables reports whether the section nftables has the settings of a mode.
func usesNFTables(mode string) bool { return mode == ModeNFTables || mode == ModeEBPF }

// setDefaults sets the unset fields to kube-proxy's defaults, except nftables.minSyncPeriod: its
// default here is 0, because an update costs what has changed.
func setDefaults(c *v1alpha1.KubeProxyConfiguration) {
	setDefault(&c.BindAddress, "0.0.0.0")
	c.HealthzBindAddress, c.MetricsBindAddress = defaultAddresses(c.BindAddress, c.HealthzBindAddress, c.MetricsBindAddress)
	setDefaultPointer(&c.OOMScoreAdj, defaultOOMScoreAdj)

	setDefault(&c.IPTables.SyncPeriod.Duration, defaultSyncPeriod)
	setDefault(&c.IPTables.MinSyncPeriod.Duration, time.Second)
	setDefaultPointer(&c.IPTables.LocalhostNodePorts, true)
	setDefaultPointer(&c.IPTables.MasqueradeBit, defaultMasqueradeBit)
	setDefault(&c.IPVS.SyncPeriod.Duration, defaultSyncPeriod)
	setDefault(&c.NFTables.SyncPeriod.Duration, defaultSyncPeriod)
	setDefaultPointer(&c.NFTables.MasqueradeBit, defaultMasqueradeBit)

	setDefaultPointer(&c.Conntrack.MaxPerCore, defaultMaxPerCore)
	setDefaultPointer(&c.Conntrack.Min, defaultMinConntrack)
	setDefaultPointer(&c.Conntrack.TCPEstablishedTimeout, metav1.Duration{Duration: 24 * time.Hour})
	setDefaultPointer(&c.Conntrack.TCPCloseWaitTimeout, metav1.Duration{Duration: time.Hour})

	setDefault(&c.ConfigSyncPeriod.Duration, 15*time.Minute)
	setDefault(&c.ClientConnection.ContentType, "application/vnd.kubernetes.protobuf")
	setDefault(&c.ClientConnection.QPS, 5)
	setDefault(&c.ClientConnection.Burst, 10)
	if c.FeatureGates == nil {
		c.FeatureGates = map[string]bool{}
	}
	logsapi.SetRecommendedLoggingConfiguration(&c.Logging)
}

// defaultMode returns the mode that an empty one means.
func defaultMode(isWindows bool) string {
	if isWindows {
		return ModeKernelspace
	}
	return ModeNFTables
}

// setPlatformDefaults sets the defaults that kube-proxy derives from the whole configuration.
func setPlatformDefaults(c *v1alpha1.KubeProxyConfiguration, isWindows bool) {
	setDefault(&c.Mode, v1alpha1.ProxyMode(defaultMode(isWindows)))
	setDefault(&c.DetectLocalMode, detectClusterCIDR)
	if usesNFTables(string(c.Mode)) && len(c.NodePortAddresses) == 0 {
		c.NodePortAddresses = []string{"primary"}
	}
	if isWindows {
		setDefault(&c.Winkernel.RootHnsEndpointName, defaultRootEndpoint)
	}
}

// defaultAddresses completes the two addresses, in the address family of bindAddress.
func defaultAddresses(bindAddress, healthz, metrics string) (completeHealthz, completeMetrics string) {
	all, loopback := "::", "::1"
	if netutils.ParseIPSloppy(bindAddress).To4() != nil {
		all, loopback = "0.0.0.0", "127.0.0.1"
	}
	setDefault(&healthz, all)
	setDefault(&metrics, loopback)
	return appendPort(healthz, healthzPort), appendPort(metrics, metricsPort)
}

// appendPort adds a port to an IP address; anything else is returned as it is.
func appendPort(address string, port int32) string {
	if _, _, err := net.SplitHostPort(address); err == nil || netutils.ParseIPSloppy(address) == nil {
		return address
	}
	return net.JoinHostPort(address, strconv.Itoa(int(port)))
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

func setDefaultPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
