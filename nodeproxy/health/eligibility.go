// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"sync/atomic"

	"sigs.k8s.io/kpng/localsink"
	"sigs.k8s.io/kpng/watchers"
)

// NodeEligible reports whether load balancers may send traffic to a node, by its Node
// object: it exists and is not being deleted. node is nil if there is no such Node.
func NodeEligible(node *watchers.Node) bool { return node != nil && !node.Deleting }

// An EligibilitySink is a sink around a sink: it derives from the updates whether load
// balancers may send traffic to the node, for a proxy that sees no Node objects.
type EligibilitySink struct {
	inner             localsink.Sink
	applied, deleting atomic.Bool
}

// NewEligibilitySink returns an EligibilitySink around inner.
func NewEligibilitySink(inner localsink.Sink) *EligibilitySink {
	return &EligibilitySink{inner: inner}
}

// Sinks returns the inner sink, for [localsink.Walk].
func (s *EligibilitySink) Sinks() []localsink.Sink { return []localsink.Sink{s.inner} }

// Sync implements [localsink.Sink]. The deletion of the node counts at once, even if the
// inner sink fails.
func (s *EligibilitySink) Sync(ctx context.Context, u *localsink.Update) error {
	s.deleting.Store(u.Node.Deleting)
	err := s.inner.Sync(ctx, u)
	if err == nil {
		s.applied.Store(true)
	}
	return err
}

// Eligible reports whether a first state is applied and the node is not being deleted.
// It may be called from any goroutine.
func (s *EligibilitySink) Eligible() bool { return s.applied.Load() && !s.deleting.Load() }
