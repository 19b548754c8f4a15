// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"log/slog"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// A Configuration is kube-proxy's configuration file, KubeProxyConfiguration of
// kubeproxy.config.k8s.io/v1alpha1. It has every field of the file, so that a misspelled
// one is found; [Config.Ignored] lists the fields that have no effect.
type Configuration struct {
	metav1.TypeMeta `json:",inline"`

	BindAddress         string `json:"bindAddress"`
	BindAddressHardFail bool   `json:"bindAddressHardFail"`
	// HealthzBindAddress and MetricsBindAddress are host:port; "" means kube-proxy's
	// default, and "off" disables the server.
	HealthzBindAddress string           `json:"healthzBindAddress"`
	MetricsBindAddress string           `json:"metricsBindAddress"`
	EnableProfiling    bool             `json:"enableProfiling"`
	HostnameOverride   string           `json:"hostnameOverride"`
	ClientConnection   ClientConnection `json:"clientConnection"`
	Mode               string           `json:"mode"`
	ClusterCIDR        string           `json:"clusterCIDR"`
	DetectLocalMode    string           `json:"detectLocalMode"`
	DetectLocal        DetectLocal      `json:"detectLocal"`
	NodePortAddresses  []string         `json:"nodePortAddresses"`
	NFTables           NFTables         `json:"nftables"`
	Conntrack          Conntrack        `json:"conntrack"`

	ConfigSyncPeriod            metav1.Duration `json:"configSyncPeriod"`
	FeatureGates                map[string]bool `json:"featureGates"`
	IPTables                    map[string]any  `json:"iptables"`
	IPVS                        map[string]any  `json:"ipvs"`
	Winkernel                   map[string]any  `json:"winkernel"`
	Logging                     map[string]any  `json:"logging"`
	OOMScoreAdj                 *int32          `json:"oomScoreAdj"`
	PortRange                   string          `json:"portRange"`
	ShowHiddenMetricsForVersion string          `json:"showHiddenMetricsForVersion"`
	WindowsRunAsService         bool            `json:"windowsRunAsService"`
}

// ClientConnection is how to connect to the API server.
type ClientConnection struct {
	Kubeconfig         string  `json:"kubeconfig"`
	AcceptContentTypes string  `json:"acceptContentTypes"`
	ContentType        string  `json:"contentType"`
	QPS                float32 `json:"qps"`
	Burst              int32   `json:"burst"`
}

// DetectLocal has the settings of two values of detectLocalMode.
type DetectLocal struct {
	BridgeInterface     string `json:"bridgeInterface"`
	InterfaceNamePrefix string `json:"interfaceNamePrefix"`
}

// NFTables has the settings of the nftables mode.
type NFTables struct {
	MasqueradeBit *int32          `json:"masqueradeBit"`
	MasqueradeAll bool            `json:"masqueradeAll"`
	SyncPeriod    metav1.Duration `json:"syncPeriod"`
	MinSyncPeriod metav1.Duration `json:"minSyncPeriod"`
}

// Conntrack has the settings of connection tracking. nil means kube-proxy's default, and
// zero leaves the kernel's value as it is.
type Conntrack struct {
	MaxPerCore            *int32           `json:"maxPerCore"`
	Min                   *int32           `json:"min"`
	TCPEstablishedTimeout *metav1.Duration `json:"tcpEstablishedTimeout"`
	TCPCloseWaitTimeout   *metav1.Duration `json:"tcpCloseWaitTimeout"`
	TCPBeLiberal          bool             `json:"tcpBeLiberal"`
	UDPTimeout            metav1.Duration  `json:"udpTimeout"`
	UDPStreamTimeout      metav1.Duration  `json:"udpStreamTimeout"`
}

const (
	apiVersion = "kubeproxy.config.k8s.io/v1alpha1"
	kind       = "KubeProxyConfiguration"
)

// ReadFile reads a configuration file. Like kube-proxy, it logs unknown and duplicate
// fields and ignores them. A nil logger is silent.
func ReadFile(path string, logger *slog.Logger) (*Configuration, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var c Configuration
	if strictErr := yaml.UnmarshalStrict(data, &c); strictErr != nil {
		c = Configuration{}
		if err := yaml.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if logger != nil {
			logger.Warn("Configuration file has unknown or duplicate fields", "file", path, "err", strictErr)
		}
	}
	if c.APIVersion != apiVersion || c.Kind != kind {
		return nil, fmt.Errorf("%s: apiVersion %q kind %q: want %q %q", path, c.APIVersion, c.Kind, apiVersion, kind)
	}
	return &c, nil
}
