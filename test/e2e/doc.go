// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e runs the proxy of examples/kube-proxy and the real kube-proxy as processes
// on a node made of network namespaces, with a real API server, and checks where real
// packets arrive. It has tests only.
//
// The pieces by file:
//
//   - fixture_test.go: the cluster, the control plane, and waiting for the proxy.
//   - proxyprocess_test.go: the proxy processes and their HTTP endpoints.
//   - objects_test.go: short descriptions of Services and EndpointSlices.
//   - probe_test.go: the probes of a test case, from their text to their results.
//   - cases_test.go, upstream_test.go: the test cases.
//   - proxies_test.go: runs the cases with each proxy and compares the results.
//   - differences_test.go: documented differences between the proxies.
//   - live_test.go, livechanges_test.go, liveconntrack_test.go: tests that need more than
//     a table of probes.
//   - takeover_test.go: swaps the proxies under traffic.
//   - details_test.go: annotations, headless Services and details in the cluster state.
//   - scale_test.go, stopwatch_test.go: measurements with many Services.
//   - documentation_test.go: checks that documents list the cases and differences.
package e2e
