// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kube watches a Kubernetes API server and writes its objects into a
// [watchers.Store]. It applies no Service semantics and keeps no copy of API objects.
//
// A [Watcher] runs one reflector of client-go for each resource. The reflector has no
// informer and no cache: each API object is converted with package kubeapi, and the result is
// written into the store. The API server evaluates the selectors of [kubeapi.Filter]; the
// converter evaluates the filter again, for servers that do not.
// Labels and annotations reach the store only as extensions; see [Config].Extend.
// With streamed lists (WatchList) each object is converted when it arrives, so
// that not even the first list is ever in memory as a whole. Other servers are listed.
//
// While the API server is unreachable, the store keeps its contents; see [Watcher.Run].
//
// The pieces by file:
//
//   - watcher.go: Config and Watcher.
//   - resource.go: the watched resources, their clients and selectors.
//   - restconfig.go: client settings that keep the load on the API server low.
package kube
