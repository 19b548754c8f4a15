// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package watchers holds what a cluster says about its Services: facts, the
// versioned [Store] that keeps them, and the [Watcher] that brings them. It knows
// no Kubernetes client, no node of its own and no policy: what the facts mean is
// decided in package nodelocal.
//
// Facts are slim copies of API objects: addresses are parsed, what no proxy reads
// is gone, and what could not be parsed is listed in Problems. A fact is immutable
// once it is in a Store. Package watchers/kubeapi makes facts of API objects.
package watchers
