// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestLaws: what the ports lead to depends on the last state only. Sinks of one test
// would take each other's ports away, so none is opened.
func TestLaws(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{New: func(t *testing.T) (localsink.Sink, func() string) {
		s := New(Config{})
		t.Cleanup(s.Close)
		closed := localsink.Func(func(ctx context.Context, u *localsink.Update) error {
			node := *u.Node
			node.LoopbackNodePorts = []netip.Addr{loopback(false), loopback(true)}
			told := *u
			told.Node = &node
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_ = s.Sync(ctx, &told)
			return nil
		})
		return closed, func() string { return describe(s) }
	}})
}

func describe(s *Sink) string {
	var lines []string
	for a, p := range s.ports {
		lines = append(lines, fmt.Sprintln(a, p.service, p.endpoints, p.affinity))
	}
	for name, held := range s.held {
		slices.SortFunc(held, netip.AddrPort.Compare)
		lines = append(lines, fmt.Sprintln(name, held))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
