// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"testing"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

func TestSinkContract(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		Unsupported: ^supported,
		New: func(t *testing.T) (localsink.Sink, func() string) {
			b, k := newTestBackend(t, Config{})
			return b, k.describe
		},
	})
}
