// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// gateExternalIPs is the feature gate that permits spec.externalIPs of Services.
const gateExternalIPs = "AllowServiceExternalIPs"

// featureEnabled returns the value of a feature gate, or byDefault if it is not set.
func (c *Config) featureEnabled(gate string, byDefault bool) bool {
	if enabled, ok := c.file.FeatureGates[gate]; ok {
		return enabled
	}
	return byDefault
}

// gatesFlag is the value of --feature-gates: "Gate=true,Other=false". A repeated flag adds
// to the earlier ones.
type gatesFlag struct{ gates *map[string]bool }

// Set implements [flag.Value].
func (f gatesFlag) Set(list string) error {
	if *f.gates == nil {
		*f.gates = map[string]bool{}
	}
	for entry := range strings.SplitSeq(list, ",") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		gate, text, _ := strings.Cut(entry, "=")
		enabled, err := strconv.ParseBool(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("%q: want GATE=true or GATE=false", entry)
		}
		(*f.gates)[strings.TrimSpace(gate)] = enabled
	}
	return nil
}

// String implements [flag.Value].
func (f gatesFlag) String() string {
	if f.gates == nil {
		return ""
	}
	var entries []string
	for _, gate := range slices.Sorted(maps.Keys(*f.gates)) {
		entries = append(entries, fmt.Sprintf("%s=%t", gate, (*f.gates)[gate]))
	}
	return strings.Join(entries, ",")
}

// ignoredGates returns the feature gates that are set and have no effect.
func ignoredGates(gates map[string]bool) (fields []string) {
	for _, gate := range slices.Sorted(maps.Keys(gates)) {
		if gate != gateExternalIPs {
			fields = append(fields, "featureGates."+gate)
		}
	}
	return fields
}
