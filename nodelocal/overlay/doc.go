// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package overlay splits the desired state of a Service into a base that many nodes share
// and a small overlay per node. It is independent of traffic policies, wire formats
// and kernels.
//
// A server computes, stores and sends the base once for all nodes, and adds a few bytes per
// node. The files:
//
//	base.go      Base: one Service, as all nodes of a zone have it
//	overlay.go   Overlay: the endpoints that are special to one node, and how many are local
//	extensions.go  endpoints with equal extensions, and the limit of all of a Service
//	assemble.go  Assemble: base + overlay + node -> localsink.Service
//	delta.go     Diff and Base.Apply: what changed between two bases, endpoint by endpoint
//
// Terms:
//
//   - A pool is a set of endpoints of one port, identified by a number. Routes name pools in
//     order of preference; an endpoint lists the pools that it is in.
//   - A condition restricts a route to the nodes that can, or cannot, recognise packets of
//     their local pods.
//   - Draining endpoints are in no pool that the node uses; they get no new connections and
//     keep those that they have.
//
// All decisions that need cluster state are made before. Assemble only looks up which pool
// has endpoints, whether the node recognises its local pods, and whether a node address is
// in the source ranges. Values are immutable after they are handed over.
package overlay
