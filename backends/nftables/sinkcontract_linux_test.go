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

// TestSinkContract runs the tests of all sinks with the real kernel. It compares the content of
// sets and the masquerading rules only, because unused chains depend on history.
func TestSinkContract(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{
		Unsupported: ^supported,
		New: func(t *testing.T) (localsink.Sink, func() string) {
			ns := netnstest.New(t)
			return backendIn(t, ns, Config{}), func() string {
				ip, ip6 := listTable(t, ns, "ip", DefaultTable), listTable(t, ns, "ip6", DefaultTable)
				return fmt.Sprint(ip.nonEmpty(), ip.rules[chainMasquerading], ip6.nonEmpty(), ip6.rules[chainMasquerading])
			}
		},
	})
}
