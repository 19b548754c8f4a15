// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync/atomic"

	"sigs.k8s.io/kpng/localsink"
)

// A node is a sink around a sink: it knows whether load balancers should send anything
// to this node.
type eligibility struct {
	inner            localsink.Sink
	applied, leaving atomic.Bool
}

// Sinks lets localsink.Walk see inside.
func (n *eligibility) Sinks() []localsink.Sink { return []localsink.Sink{n.inner} }

// Sync implements localsink.Sink. That the node is leaving counts at once, whatever
// becomes of the rules.
func (n *eligibility) Sync(ctx context.Context, u *localsink.Update) error {
	n.leaving.Store(u.Node.Deleting)
	err := n.inner.Sync(ctx, u)
	if err == nil {
		n.applied.Store(true)
	}
	return err
}

// eligible says whether the node was ever brought in line with what a server says, and is
// not about to vanish. Before the first state nobody has said that there is such a Node.
func (n *eligibility) eligible() bool { return n.applied.Load() && !n.leaving.Load() }
