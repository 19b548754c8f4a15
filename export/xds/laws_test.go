// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"testing"

	"sigs.k8s.io/kpng/export/xds"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestLaws checks the laws of sinks; the dataplane is what a client receives that connects.
func TestLaws(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		New: func(t *testing.T) (localsink.Sink, func() string) {
			f := newFixture(t, xds.Config{PreferLocal: true})
			return f.sink, func() string {
				select {
				case <-f.sink.Ready():
					return f.describe()
				default:
					return "waiting" // a client receives nothing
				}
			}
		},
		Extensions: []localsink.Extension{{Key: xds.ZoneExtension, Value: "zone-1"}},
	})
}
