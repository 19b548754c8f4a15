// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package nodeips_test

import (
	"context"
	"log/slog"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/nodelocal"
	"sigs.k8s.io/kpng/nodeproxy/nodeips"
	"sigs.k8s.io/kpng/watchers"
)

// A proxy that starts while its Node is absent serves node ports on the assumed addresses.
func ExampleAssume() { //nolint:testableexamples // the result depends on the machine
	run := func(ctx context.Context, store *watchers.Store, sink localsink.Sink) error {
		cfg := nodelocal.Config{NodeName: "node-1", KnownNode: &nodelocal.KnownNode{}}
		nodeips.Assume(ctx, store, cfg.NodeName, cfg.KnownNode, slog.Default())
		return nodelocal.Follow(ctx, store, sink, cfg)
	}
	_ = run
}
