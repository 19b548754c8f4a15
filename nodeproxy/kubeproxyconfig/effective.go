// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// settings are a configuration with defaults. Its own fields hold what the file has once
// per mode, for the mode that is used, and the networks of clusterCIDR.
type settings struct {
	v1alpha1.KubeProxyConfiguration

	masqueradeAll             bool
	syncPeriod, minSyncPeriod time.Duration
	clusterCIDRs              []string
	isWindows                 bool // the system of the proxy
}

func newSettings(c *v1alpha1.KubeProxyConfiguration, isWindows bool) *settings {
	s := &settings{KubeProxyConfiguration: *c, masqueradeAll: c.IPTables.MasqueradeAll, isWindows: isWindows}
	switch c.Mode {
	case ModeNFTables, ModeEBPF:
		s.masqueradeAll = c.NFTables.MasqueradeAll
		s.syncPeriod, s.minSyncPeriod = c.NFTables.SyncPeriod.Duration, c.NFTables.MinSyncPeriod.Duration
	case ModeIPVS:
		s.syncPeriod, s.minSyncPeriod = c.IPVS.SyncPeriod.Duration, c.IPVS.MinSyncPeriod.Duration
	default:
		s.syncPeriod, s.minSyncPeriod = c.IPTables.SyncPeriod.Duration, c.IPTables.MinSyncPeriod.Duration
	}
	if c.ClusterCIDR != "" {
		s.clusterCIDRs = strings.Split(c.ClusterCIDR, ",")
	}
	return s
}

// normalize writes the settings of the mode into the configuration and clears those of
// other modes, as kube-proxy does before it shows or writes its configuration.
func (s *settings) normalize() {
	s.APIVersion, s.Kind = v1alpha1.SchemeGroupVersion.String(), "KubeProxyConfiguration"
	zero, sync, minimum := metav1.Duration{}, metav1.Duration{Duration: s.syncPeriod}, metav1.Duration{Duration: s.minSyncPeriod}
	s.IPTables.SyncPeriod, s.IPTables.MinSyncPeriod, s.IPTables.MasqueradeAll = zero, zero, false
	s.IPVS.SyncPeriod, s.IPVS.MinSyncPeriod = zero, zero
	s.NFTables.SyncPeriod, s.NFTables.MinSyncPeriod, s.NFTables.MasqueradeAll = zero, zero, false
	switch s.Mode {
	case ModeNFTables, ModeEBPF:
		s.NFTables.SyncPeriod, s.NFTables.MinSyncPeriod, s.NFTables.MasqueradeAll = sync, minimum, s.masqueradeAll
	case ModeIPVS:
		s.IPVS.SyncPeriod, s.IPVS.MinSyncPeriod, s.IPTables.MasqueradeAll = sync, minimum, s.masqueradeAll
	default:
		s.IPTables.SyncPeriod, s.IPTables.MinSyncPeriod, s.IPTables.MasqueradeAll = sync, minimum, s.masqueradeAll
	}
	s.ClusterCIDR = strings.Join(s.clusterCIDRs, ",")
	s.PortRange = ""
}

// Configuration returns a copy of the configuration with all defaults, in the form in
// which kube-proxy shows it: settings of modes that are not used are unset.
func (c *Config) Configuration() *v1alpha1.KubeProxyConfiguration { return c.settings.DeepCopy() }

// Write writes the configuration with all defaults as YAML.
func (c *Config) Write(w io.Writer) error {
	codecs, err := newCodecs(serializer.DisableStrict)
	if err != nil {
		return err
	}
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeYAML)
	if !ok {
		return fmt.Errorf("no encoder for %s", runtime.ContentTypeYAML)
	}
	return codecs.EncoderForVersion(info.Serializer, v1alpha1.SchemeGroupVersion).Encode(c.Configuration(), w)
}

// WriteFile writes the configuration with all defaults into a YAML file, which it
// replaces.
func (c *Config) WriteFile(path string) error {
	var text strings.Builder
	if err := c.Write(&text); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text.String()), 0o644)
}
