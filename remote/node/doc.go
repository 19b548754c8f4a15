// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package remote carries what nodes must do from a server to the nodes, over gRPC; it
// knows no policy, no Kubernetes client and no kernel.
//
// A [Server] follows a store of facts and tells every node that asks what it must do for
// its Services: computed and encoded once for all nodes of a zone, with the little that
// is a node's own beside it. It answers people's questions too: how far each node is,
// and why a Service is served as it is.
//
// A [Client] is one node's end. It feeds any localsink.Sink, and keeps what it knows and
// what the sink has programmed over any disconnect: whichever server it comes back to
// sends the difference.
//
// The protocol is in api/kpng/v1alpha1.
package node
