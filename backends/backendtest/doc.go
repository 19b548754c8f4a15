// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package backendtest checks with real packets that a backend fulfils the contract of
// [localsink.Sink]. It depends on no Kubernetes API, no traffic policy, and no details of
// any backend.
//
// A test calls [Main] from TestMain, and [Run] with a [Backend], whose main part is a
// function that creates a sink in a given network namespace. Run builds a testbed for each
// behaviour: a node, its pods, a remote node with pods, and external clients, each in a
// network namespace. It applies one desired state after another, connects from every kind of
// client with each protocol over IPv4 and IPv6, and compares the outcome with
// sinktest.Trace, the reference implementation of the contract: which endpoints may answer,
// which client address they see, or whether the connection is refused or dropped.
//
// Each behaviour is a subtest and a row of the [Report]. A behaviour that needs a feature
// the backend declares unsupported is reported as unsupported, never left out.
//
// The package needs Linux, and root or the right to create user namespaces. It leaves
// nothing behind.
//
// # Terms
//
//   - A behaviour is one rule of the contract with an ID, such as DP-01.
//   - A variant is an address family and a protocol. Each behaviour runs in all variants.
//   - The testbed is the network (testbed_linux.go, addresses.go, servers_linux.go).
//   - A step is a desired state with the probes that check it (step_linux.go).
//   - A probe is one connection attempt (probe_linux.go); its answer is what came of it.
//   - A flow is a connection that stays open after its probe.
//   - The checker drives the sink through the steps of one behaviour (checker_linux.go) and
//     compares answers with the contract (verify_linux.go).
//
// The behaviours are in cases_*_linux.go, by subject. SCTP is implemented over raw sockets
// (sctp_linux.go), because many kernels translate SCTP without having SCTP sockets.
package backendtest
