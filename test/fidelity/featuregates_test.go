// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package fidelity

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"k8s.io/apiserver/pkg/util/feature"
	logsapi "k8s.io/component-base/logs/api/v1"
	metricsfeatures "k8s.io/component-base/metrics/features"
	_ "k8s.io/kubernetes/pkg/features" // registers the gates of Kubernetes
)

// TestFeatureGates compares the table of gates with those of kube-proxy's source.
func TestFeatureGates(t *testing.T) {
	gates := feature.DefaultMutableFeatureGate.DeepCopy()
	require.NoError(t, logsapi.AddFeatureGates(gates))
	require.NoError(t, metricsfeatures.AddFeatureGates(gates))
	theirs := map[string]string{}
	for name, spec := range gates.GetAll() {
		theirs[string(name)] = fmt.Sprintf("%s %t %t", cmp.Or(string(spec.PreRelease), "GA"), spec.Default, spec.LockToDefault)
	}
	data, err := os.ReadFile("../../nodeproxy/kubeproxyconfig/featuregates.txt")
	require.NoError(t, err)
	ours := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			ours[name] = value
		}
	}
	compare(t, featureGatesTitle, theirs, ours)
}
