// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package watchers holds the cluster state of Services and the interface of its sources. It
// has no notion of a Kubernetes client, of the node it runs on or of Service semantics;
// package nodelocal resolves the cluster state for a node.
//
//   - watcher.go: a [Watcher] copies objects from a source into a store.
//   - store.go: a [Store] is the versioned cluster state; a [Tx] changes it.
//   - snapshot.go: a [Snapshot] is an immutable version of the cluster state.
//   - join.go: [Join] combines several watchers; merge.go merges their objects.
//   - key.go: a [Key] identifies an object. Objects are ordered by key.
//   - objects.go: an [APIObject] is a [Service], [EndpointSlice], [Node] or [ServiceCIDR], each
//     in a file of its own.
//   - hash.go: the content hash of each object.
//
// Objects are compact copies of Kubernetes API objects: addresses are parsed, fields that no
// proxy reads are left out, and invalid fields are listed in Problems. Package
// watchers/kubeapi converts API objects. An object is immutable once it is in a store.
//
// A store is synced once it holds everything that the source had when its watcher started.
// Until then, the absence of an object has no significance.
package watchers
