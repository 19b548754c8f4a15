// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package backendtest_test

import (
	"context"
	"testing"

	"sigs.k8s.io/kpng/backends/backendtest"
	"sigs.k8s.io/kpng/backends/nftables"
	"sigs.k8s.io/kpng/localsink"
)

// The test function of a backend. Package testing calls it in a real test, with a TestMain
// that returns backendtest.Main.
func ExampleRun() { //nolint:testableexamples // the report needs root and depends on the machine
	testConformance := func(t *testing.T) {
		report := backendtest.Run(t, backendtest.Backend{
			Name: "my backend",
			New: func(context.Context, backendtest.Namespace) (localsink.Sink, error) {
				return nftables.New(nftables.Config{})
			},
			Unsupported: localsink.FeatureSCTP,
		})
		t.Log(report.Text())
	}
	_ = testConformance
}
