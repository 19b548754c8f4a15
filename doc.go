// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kpng is the root of Kubernetes Proxy NG: a kit of parts for building a
// Kubernetes service proxy. It holds no code of its own, only the map:
//
//	watchers/kube ─┐
//	watchers/file ─┼─> watchers.Store ──> nodelocal ──> localsink.Sink
//	your watcher  ─┘   facts about the    what this one node      backends/nftables,
//	                   cluster            must do about them      or your own
//
// A line of code lives where its subject lives:
//
//   - What the cluster said, and reading it from somewhere: package watchers and below.
//   - What it means for one node (policies, readiness, topology, masquerading):
//     package nodelocal, and nowhere else.
//   - The shape in which a node is told: package localsink, standard library only. Package
//     nodelocal/overlay puts it together from what nodes have in common and one node's own,
//     package localsink/reconciler calls sinks and tries again.
//   - The same between processes, over gRPC: packages remote/node and remote/cluster,
//     with messages in api, and security in package transport.
//   - How a kernel or another dataplane is told: package backends and below.
//   - What changed since when: package diffstore, which knows no Services.
//   - Whether somebody may send traffic here, over HTTP: package backends/healthcheck.
//   - Who may connect and what they may watch, over gRPC: package transport.
//   - Flags, config files, signals, metrics: examples.
package kpng
