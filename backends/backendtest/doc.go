// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package backendtest is packets in, endpoints out: it shows with real packets that a
// [localsink.Sink] does what the contract says. It knows no Kubernetes API, no policy,
// and nothing of how a backend works.
//
// A vendor writes one function that makes a sink in a given network namespace. [Run]
// then builds a node, its pods, a remote node with pods and clients outside, each in a
// namespace of its own, drives the sink from state to state, and connects from
// everywhere with every protocol over IPv4 and IPv6. What must come of each connection
// is computed by sinktest.Trace, the reference reading of the contract: which endpoints
// may answer, which client address they see, refused at once or silent.
//
// Each behaviour is a subtest and a row of the [Report]. What a backend says that it
// lacks is reported as lacking and never left out in silence.
//
// It needs Linux, and root or the right to make user namespaces. Everything disappears
// with the test.
package backendtest
