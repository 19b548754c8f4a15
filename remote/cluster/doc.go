// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package remote carries the facts of a cluster from a server to watchers, over gRPC; it
// knows no policy, no Kubernetes client and no node.
//
// A [Server] follows a store and tells everybody who asks, of all facts or of those of
// some namespaces or one proxy. Each fact is encoded once, however many are told.
//
// A [Client] is a watchers.Watcher: it keeps a store in line with what servers say, and
// keeps what it knows over any disconnect: whichever server it comes back to sends the
// difference. A client and a server of one store are a relay.
//
// The protocol is in api/kpng/v1alpha1. What a newer server says and a client does not
// know does no harm: kinds of facts and fields are passed over, and values of fields too,
// with a Problem of the object where something is missing for it. A relay passes on what
// it knows itself.
package cluster
