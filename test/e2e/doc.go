// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e runs proxies, ours and the real kube-proxy, as processes on a node
// made of network namespaces, under a real API server, and looks at what real
// packets come to. It has tests only.
package e2e
