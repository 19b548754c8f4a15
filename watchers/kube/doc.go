// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kube watches a Kubernetes API server and writes its objects into a
// [watchers.Store]. It applies no Service semantics and keeps no copy of API objects.
//
// A [Watcher] runs one reflector of client-go for each resource. The reflector has no
// informer and no cache: a storeWriter converts each API object with package kubeapi
// and writes the result into the store. The API server evaluates the selectors of
// [kubeapi.Filter]; the storeWriter evaluates the filter again, for servers that do not.
// Labels and annotations reach the store only as extensions; see [Config].Extend.
// With streamed lists (WatchList) each object is converted when it arrives, so
// that not even the first list is ever in memory as a whole. Other servers are listed.
//
// While the API server is unreachable, the store keeps its contents; see [Watcher.Run].
//
// The pieces by file:
//
//   - watcher.go: Config, Watcher and the reflectors of one run.
//   - resource.go: the watched resources, their clients and selectors.
//   - storewriter.go: the reflector's store, which writes to a watchers.Store.
//   - requestlog.go: one log line when requests begin to fail, one when they succeed again.
//   - clock.go: the reflector's clock, which ends pauses when the context is done.
//   - debuglog.go: the handler that logs what client-go reports at level debug.
//   - restconfig.go: client settings that keep the load on the API server low.
package kube
