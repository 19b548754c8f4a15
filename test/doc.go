// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package test is the root of the module of end-to-end tests. It is a module of its own so
// that users of the library do not get its dependencies. The packages are:
//
//	netns         anonymous network namespaces, and processes in them
//	controlplane  a real etcd and a real kube-apiserver
//	cluster       a node with pods, another node with pods, and an external client
//	watchonly     a client that only watches, as a baseline of CPU time
//	deploy        tests of the Containerfile, the charts and the manifests
//	examples      tests of the programs of examples as processes; they need no root
//	sourcecheck   the program of make check
//	benchreport   results, table and plots of make bench-report
//	fuzz          the program of make fuzz
//	release       the program of make release
//	fidelity      compares the programs kube-proxy: configuration, flags, exit codes
//	e2e           tests of the proxy of examples/kube-proxy and of the real kube-proxy
//
// The tests need root. Without it they are skipped, or fail if KPNG_REQUIRE_NETNS is 1.
// KPNG_TEST_BIN is a directory with programs that were built before.
package test
