// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sinktest tests implementations and callers of localsink.Sink. It has no notion of
// kernels or of Kubernetes, and needs no privileges.
//
// For authors of a backend:
//
//   - suite.go: [TestSink] runs the conformance suite, a set of laws that hold for every
//     sink. random.go generates its states. concepts.go and contrasts.go are the laws about
//     single concepts, such as weights.
//   - driver.go: a [Driver] calls a sink with a sequence of states, as the contract requires.
//     [NewState] and [NewUpdate] build its arguments.
//   - trace.go: [Trace] is the reference implementation of the contract for one packet. It
//     returns what a correct dataplane does with it.
//
// For authors of code that calls sinks:
//
//   - recorder.go: a [Recorder] is a fake sink that records its updates and checks that each
//     is relative to the last acknowledged one.
package sinktest
