// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeproxyconfig

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Feature gates that this package uses.
const (
	gateIPVS         = "KubeProxyIPVS"
	gateLoggingAlpha = "LoggingAlphaOptions"
	gateLoggingBeta  = "LoggingBetaOptions"
	gateExternalIPs  = "AllowServiceExternalIPs"
)

// gateTable has a line for each feature gate that kube-proxy accepts. A test compares it
// with kube-proxy's source.
//
//go:embed featuregates.txt
var gateTable string

// A featureGate is a line of gateTable.
type featureGate struct {
	stage             string // ALPHA, BETA, GA or DEPRECATED
	enabled, isLocked bool   // the default, and whether it is the only value
}

func knownGates() map[string]featureGate {
	gates := map[string]featureGate{}
	for line := range strings.Lines(gateTable) {
		if f := strings.Fields(line); len(f) == 4 {
			gates[f[0]] = featureGate{stage: f[1], enabled: f[2] == "true", isLocked: f[3] == "true"}
		}
	}
	return gates
}

// featureEnabled reports whether a feature is enabled by values, which override the
// default. AllAlpha and AllBeta are the values of the gates of a stage that are not in
// values.
func featureEnabled(values map[string]bool, name string) bool {
	return gateEnabled(values, name, knownGates()[name])
}

// gateEnabled is featureEnabled for a line of gateTable.
func gateEnabled(values map[string]bool, name string, gate featureGate) bool {
	if v, ok := values[name]; ok {
		return v
	}
	switch v, ok := values[map[string]string{"ALPHA": "AllAlpha", "BETA": "AllBeta"}[gate.stage]]; {
	case ok:
		return v
	default:
		return gate.enabled
	}
}

// checkGates returns an error that names each gate that does not exist or is locked to
// the other value.
func checkGates(values map[string]bool) error {
	known := knownGates()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(values)) {
		gate, ok := known[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("featureGates.%s: no such feature gate in Kubernetes 1.37", name))
		case gate.isLocked && gate.enabled != values[name]:
			errs = append(errs, fmt.Errorf("featureGates.%s: locked to %t", name, gate.enabled))
		}
	}
	return errors.Join(errs...)
}
