// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plan divides what a node must do for a Service into what many nodes have in
// common and the little that is one node's own; it knows no policy, no wire format and
// no kernel.
//
// A [Base] is the common part. It is computed, kept and sent once for all nodes of
// a kind, however many there are. An [Overlay] is what one node adds: which endpoints are
// on it, and which are meant for it alone. [Assemble] puts both together into the
// localsink.Service that a backend is told. [Diff] and [Base.Apply] are the distance
// between two common parts, endpoint by endpoint.
//
// Everything that a node may not know of others is decided before; what is left to
// Assemble is looking up: which pool has endpoints, whether the node can tell its own
// pods, whether one of its addresses is in a list. Values are immutable once they are
// handed over.
package overlay
