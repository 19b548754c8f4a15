// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vectors has the stories that define the semantics of Services on a node, and runs them
// with any implementation of these semantics. It needs no dataplane. docs/vectors.md describes
// the format of stories.
//
//   - A [Story] (stories.go) is a list of steps: settings of a node, objects that change, and
//     expectations. [Stories] returns those of this project.
//   - An [Implementation] (run.go) receives the settings and objects, and returns the outcome of
//     probes. [Run] compares these with the expectations of a story.
//   - [NewReference] (reference.go) returns the implementation of this module.
//
// A story is text and has no clock, so a run is repeatable. Stories are independent of each other
// and may run at the same time.
package vectors
