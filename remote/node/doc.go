// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package node sends the desired state of each node from a server to the nodes, over gRPC.
// It does not depend on Service semantics beyond package nodelocal, on a Kubernetes client
// or on a kernel.
//
// A [Server] follows a store of cluster state and serves NodeService: it streams to each
// node the desired state of that node. It also serves InspectService, which reports the
// lag of nodes and explains their state. A [Client] is the end of one node: it drives any
// localsink.Sink and keeps its state over disconnects. After a reconnect, to the same or
// another server, only differences are sent. The protocol is in api/kpng/v1alpha1.
//
// # Glossary
//
//	shared base     the part of a Service that is the same for all nodes of a zone; encoded
//	                once and sent to all of them
//	node overlay    the part of a Service that differs per node: its local endpoints
//	revision        number of a published state of one server
//	trigger time    time at which a change was written to the Kubernetes API
//	published time  time at which the server published the change
//
// # Files
//
//	server.go       configuration, life cycle, publishing of revisions
//	stream.go       the stream of one node, as a fanout.Conn
//	overlays.go     node overlays in the initial state and in updates
//	item.go         one Service with its encodings
//	revisions.go    published and trigger times of recent revisions
//	encode.go       messages of the server; decode.go parses them
//	client.go       the client; clientstate.go is its copy of the server's state
//	inspect.go      InspectService; stats.go the same for metrics
//	progress.go     the same for programs that act on it
package node
