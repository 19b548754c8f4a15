// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"maps"
	"slices"
)

// A Feature is a feature gate of kube-proxy and its value.
type Feature struct {
	Name string
	// Stage is ALPHA, BETA, DEPRECATED, or GA.
	Stage   string
	Enabled bool
}

// Features returns all feature gates that kube-proxy has, by name, with the values that the
// configuration gives them. [Config.Log] names those that are set and have no effect.
func (c *Config) Features() []Feature {
	gates := knownGates()
	var features []Feature
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		features = append(features, Feature{Name: name, Stage: gates[name].stage, Enabled: gateEnabled(c.settings.FeatureGates, name, gates[name])})
	}
	return features
}
