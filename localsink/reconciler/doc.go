// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package feed keeps a sink in line with a state that changes; it knows nothing of
// where the state comes from, of Kubernetes or of a wire.
//
// A [Tracker] holds the wanted state and what the sink has accepted of it, and makes the
// updates between the two. [Run] is the loop: it waits for news, calls the sink, tries
// again after failures and keeps the pace.
package reconciler
