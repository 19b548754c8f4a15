// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package test is the root of the end-to-end tests, a module of its own so that
// their dependencies never reach users of the library. It holds no code, only
// the map:
//
//	netns         network namespaces without names, and processes in them
//	controlplane  a real etcd and a real kube-apiserver
//	cluster       one node with pods, another node, and a client outside
//	deploy        the manifests of examples/deploy, and what they run
//	e2e           proxies, ours and the real kube-proxy, against all of these
//
// The tests need root. Without it they are skipped, or fail when
// KPNG_REQUIRE_NETNS=1. KPNG_TEST_BIN names a folder with binaries built before.
package test
