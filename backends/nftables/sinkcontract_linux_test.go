// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"testing"

	"sigs.k8s.io/kpng/backends/internal/netnstest"
	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestSinkContract holds the backend and the real kernel to the laws of every sink. The target
// is described by what its sets hold: chains that nobody leads to may differ.
func TestSinkContract(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		New: func(t *testing.T) (localsink.Sink, func() string) {
			ns := netnstest.New(t)
			return backendIn(t, ns, Config{}), func() string {
				return fmt.Sprint(listTable(t, ns, "ip", DefaultTable).nonEmpty(), listTable(t, ns, "ip6", DefaultTable).nonEmpty())
			}
		},
	})
}
