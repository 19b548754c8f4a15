// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kpng is the root of Kubernetes Proxy NG, a library for building Kubernetes service
// proxies. It has no code, only this overview:
//
//	watchers/kube ──┐
//	watchers/file ──┼─> watchers.Store ───> nodelocal ───────> localsink.Sink
//	your watcher ───┘   cluster state       desired state      backends/nftables
//	                                        of one node        or your backend
//
// [sigs.k8s.io/kpng/nodelocal.Run] connects a watcher with a sink. Where to find what:
//
//   - watchers: the cluster state (Services, EndpointSlices, Nodes) and its sources.
//   - nodelocal: Service semantics: traffic policies, readiness, topology, masquerading. It
//     resolves the cluster state into the desired state of a node. nodelocal/overlay splits
//     that into a base shared by all nodes of a zone and an overlay per node.
//   - localsink: the contract between the resolver and backends. It imports only the
//     standard library. localsink/reconciler calls sinks and retries; localsink/sinktest has
//     the conformance suite of backends.
//   - backends: sinks for nftables, conntrack, health checks and loopback node ports, and
//     backends/backendtest, a test kit that sends real packets.
//   - remote: the same data over gRPC, for servers that resolve for many nodes. remote/node
//     sends the desired state of nodes, remote/cluster sends the cluster state,
//     remote/transport has TLS, authentication and limits. The protocol is in api.
//   - nodeproxy: metrics, health, events and kube-proxy configuration for assembled proxies.
//   - diffstore: the ordered, versioned store that watchers, nodelocal and remote build on.
//   - examples: complete programs.
package kpng
