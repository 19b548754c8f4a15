// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kube brings the facts of a Kubernetes API server into a [watchers.Store];
// it knows no policy and keeps no copy of API objects.
//
// Each kind of object has one reflector of client-go, which writes facts straight
// into the store: there is no informer and no cache beside it. The filters of
// package kubeapi are applied by the server, and again on arrival for servers that
// do not. Where the server can stream its lists (WatchList), objects become facts
// one by one as they arrive, so that not even the first list is ever in memory as
// a whole; otherwise they are listed.
//
// While the API server is out of reach, the store keeps what it has; see
// [Watcher.Run].
package kube
