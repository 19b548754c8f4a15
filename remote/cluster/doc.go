// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cluster sends the cluster state of a store (Services, EndpointSlices, Nodes and
// ServiceCIDRs) from a server to clients, over gRPC. It does not depend on Service
// semantics, on a Kubernetes client or on a node.
//
// A [Server] follows a store and serves ClusterService. Clients select namespaces and
// proxies. Each object is encoded once for all clients.
//
// A [Client] is a watchers.Watcher: it keeps a store equal to the server's and keeps its
// content over disconnects. After a reconnect, to the same or another server, only
// differences are sent. A client and a server that share a store are a relay.
//
// The protocol is in api/kpng/v1alpha1. A client ignores unknown kinds of objects and
// unknown fields of newer servers. Unsupported values of fields are left out and become
// Problems of the object. A relay forwards only what it supports itself.
//
// Files: server.go publishes states and stream.go serves one client; selector.go decides
// which objects a client receives; item.go holds an object with its encoding; encode.go,
// decode.go and decodeslice.go convert objects; client.go is the client and objectstate.go its bookkeeping of
// digests.
package cluster
