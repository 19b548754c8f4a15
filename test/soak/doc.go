// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package soak runs proxies, servers, a relay and node agents as processes with a real API server, for
// as long as KPNG_SOAK_DURATION, while objects change at random and processes, rules, history and
// certificates are disturbed. `make soak` runs it. It has tests only; package oracle, below it,
// computes what must be in the kernel.
//
// # Processes
//
//	hub      etcd, kube-apiserver, server-a, server-b (kpng --from kube, TLS), relay (of both servers)
//	node-1   proxy-1: examples/kube-proxy, mode nftables
//	node-2   agent-2: kpng --from node, of both servers
//	node-3   agent-3: the same
//	node-4   agent-4: kpng --from node, of the relay
//
// Each node is a network namespace with an endpoint of the Services that traffic uses. server-b and
// agent-3 are never killed, so that growth of their memory shows over the whole run.
//
// # Rounds
//
// The seed alone determines the sequence of operations; time only determines after which round it
// ends. A round is some changes of objects, or a burst of hundreds, with faults among them. At its end
// all processes run, and nothing changes: a quiet point. There the test waits, for at most
// quietLimit, until on each node the kernel, the acknowledged state of /state and the result of the
// oracle are equal.
//
// # Traffic
//
// On each node a client dials the cluster IPs of Services that no operation changes, and a client of
// the hub dials one of them through the node. A connection may fail only while it overlaps with the
// time from a flush or another external change of the rules of that node until its proxy has repaired
// them, which must take at most repairLimit. A connection fails if it gets no answer within dialLimit, so a
// lost packet that TCP repeats is not a failure.
//
// The kernel tracks a connection that began in that time without translation for two minutes, and
// does not translate another one from the same source port. So a failed connection for which the
// kernel has such an entry counts as one of the time when the entry was made.
//
// # Files
//
//   - soak_test.go: the test, and its settings.
//   - operations_test.go: the sequence of operations; services_test.go, slices_test.go: the objects
//     in it; faults_test.go: faults.
//   - network_test.go: the namespaces. processes_test.go: the processes. certificates_test.go: their
//     certificates.
//   - quiet_test.go: quiet points. traffic_test.go: traffic. resources_test.go: memory,
//     goroutines and descriptors.
package soak
