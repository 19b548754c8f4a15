// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// withoutEffect lists the fields, and sections that end in ".", that have no effect in this proxy.
func withoutEffect() []string {
	return []string{
		"configSyncPeriod",                                              // a watch that has a gap is started again, so that nothing needs to be refreshed
		"portRange",                                                     // nor in kube-proxy
		"showHiddenMetricsForVersion",                                   // no metric is hidden
		"logging.flushFrequency", "logging.options.", "logging.vmodule", // messages are not buffered, and have no file
	}
}

// gatesWithEffect lists the feature gates whose both values do the same as in kube-proxy.
func gatesWithEffect() []string {
	return []string{gateExternalIPs, gateIPVS, gateLoggingAlpha, gateLoggingBeta}
}

// ignored returns the fields of s, which is not normalized, that have no effect and are
// not at their default, as PATH=VALUE.
func ignored(s *settings) (fields []string) {
	defaults := v1alpha1.KubeProxyConfiguration{}
	setDefaults(&defaults)
	usual, got := leaves(&defaults), leaves(&s.KubeProxyConfiguration)
	idle := slices.Concat(withoutEffect(), s.idleModes(), s.idleLocalModes())
	for _, path := range slices.Sorted(maps.Keys(got)) {
		hasNoEffect := slices.ContainsFunc(idle, func(f string) bool {
			return path == f || strings.HasSuffix(f, ".") && strings.HasPrefix(path, f)
		})
		if hasNoEffect && !reflect.DeepEqual(got[path], usual[path]) && !isEmpty(got[path]) {
			fields = append(fields, fmt.Sprintf("%s=%v", path, got[path]))
		}
	}
	for _, gate := range slices.Sorted(maps.Keys(s.FeatureGates)) {
		if !slices.Contains(gatesWithEffect(), gate) && s.FeatureGates[gate] != knownGates()[gate].enabled {
			fields = append(fields, fmt.Sprintf("featureGates.%s=%t", gate, s.FeatureGates[gate]))
		}
	}
	return fields
}

// idleModes lists the fields and sections of modes that are not in use. The mode ipvs has its
// masquerading in the section of iptables.
func (s *settings) idleModes() []string {
	const otherSystem, service = "winkernel.", "windowsRunAsService"
	switch s.Mode {
	case ModeIPTables:
		return []string{"ipvs.", "nftables.", otherSystem, service}
	case ModeIPVS:
		return []string{"iptables.localhostNodePorts", "iptables.minSyncPeriod", "iptables.syncPeriod", "nftables.", otherSystem, service}
	case ModeKernelspace:
		return []string{"iptables.localhostNodePorts", "iptables.masqueradeBit", "ipvs.", "nftables.", "conntrack.", "oomScoreAdj"}
	default:
		return []string{"iptables.", "ipvs.", otherSystem, service}
	}
}

// idleLocalModes lists the fields of values of detectLocalMode that are not in use.
func (s *settings) idleLocalModes() []string {
	fields := map[v1alpha1.LocalMode]string{
		detectClusterCIDR:     "clusterCIDR",
		detectBridgeInterface: "detectLocal.bridgeInterface",
		detectInterfacePrefix: "detectLocal.interfaceNamePrefix",
	}
	delete(fields, s.DetectLocalMode)
	return slices.Collect(maps.Values(fields))
}

// isEmpty reports whether a field has the value that its type has when it is unset and has no default.
func isEmpty(value any) bool {
	list, ok := value.([]any)
	return value == nil || ok && len(list) == 0
}

// leaves returns the values of c as JSON by the path of the field; lists are one value.
func leaves(c *v1alpha1.KubeProxyConfiguration) map[string]any {
	values := map[string]any{}
	data, err := json.Marshal(c)
	if err != nil {
		return values // the type has no value that cannot be encoded
	}
	var tree map[string]any
	if json.Unmarshal(data, &tree) == nil {
		flatten("", tree, values)
	}
	return values
}

func flatten(prefix string, tree, values map[string]any) {
	for name, value := range tree {
		if section, ok := value.(map[string]any); ok {
			flatten(prefix+name+".", section, values)
			continue
		}
		values[prefix+name] = value
	}
}

// Ignored returns the fields that have no effect and are not at their default, as
// PATH=VALUE. Flags are listed as the fields that they set.
func (c *Config) Ignored() []string { return slices.Clone(c.ignored) }

// Log logs what an operator should know about the configuration, each kind in one line:
// unknown fields of the file, flags that the file replaces, and settings without effect.
// A nil logger is silent.
func (c *Config) Log(logger *slog.Logger) {
	if logger == nil {
		return
	}
	if c.lenient != nil {
		logger.Warn("Configuration file has unknown or duplicate fields", "file", c.file, "err", c.lenient)
	}
	if len(c.overridden) > 0 {
		logger.Warn("Flags without effect beside the configuration file", "file", c.file, "flags", strings.Join(c.overridden, ", "))
	}
	if len(c.ignored) > 0 {
		logger.Info("Settings without effect", "settings", strings.Join(c.ignored, ", "))
	}
}
