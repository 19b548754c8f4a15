// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package localhost

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/localsink/sinktest"
)

// TestSinkContract: the ports depend on the last state only. The sinks of one test would
// compete for the same ports, so Sync runs with a canceled context and opens none.
func TestSinkContract(t *testing.T) {
	sinktest.TestSink(t, sinktest.Harness{New: func(t *testing.T) (localsink.Sink, func() string) {
		s := newSink(t, Config{})
		t.Cleanup(func() { _ = s.Close() })
		withoutListeners := localsink.Func(func(ctx context.Context, u *localsink.Update) error {
			node := *u.Node
			node.LoopbackNodePorts = []netip.Addr{loopback(false), loopback(true)}
			update := *u
			update.Node = &node
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			_ = s.Sync(ctx, &update)
			return nil
		})
		return withoutListeners, func() string { return describe(s) }
	}})
}

// describe returns the ports and their owners as text.
func describe(s *Sink) string { return fmt.Sprint(s.proxy.Listeners(), s.Stats()) }
