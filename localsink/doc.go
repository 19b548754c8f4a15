// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package localsink is the contract between what a node must do for its
// Services and whatever programs the node; it knows no Kubernetes API, no policy
// and no kernel, and imports only the standard library.
//
// A backend implements one method, [Sink.Sync], and receives the whole wanted
// state of its node together with the distance from the last state it accepted.
// All decisions that Kubernetes makes (traffic policies, readiness, topology,
// masquerading, which of two Services owns a contested address) are already
// taken: they arrive as data, as the [Route]s of each [Frontend].
//
// Every value reachable from an [NewUpdate] is immutable: a sink may keep it for
// ever and must never write to it. Equal lists may share memory.
package localsink
