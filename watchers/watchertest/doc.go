// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package watchertest tests implementations of watchers.Watcher, and replaces them in tests
// of other code. It has no notion of a particular source or client.
//
//   - suite.go: [TestWatcher] runs the conformance suite, a set of laws that hold for every
//     watcher. fields.go has the laws about extensions and all fields, objects.go the objects and
//     conditions.
//   - join.go, joinlaws.go: [TestJoin] checks the laws of watchers that join several sources.
//   - memory.go: a [Memory] is a watcher whose source is a program.
//   - random.go: a [Random] generates the cluster state of a small cluster.
package watchertest
