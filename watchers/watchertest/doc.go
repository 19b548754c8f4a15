// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package watchertest is for those who write a [watchers.Watcher] and those who
// need one without a cluster: it holds the laws that every watcher obeys, as the
// test suite [Test], and [Memory], a watcher that a program tells its facts. It
// knows no source and no client.
package watchertest
