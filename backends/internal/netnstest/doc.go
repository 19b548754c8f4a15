// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netnstest creates network namespaces for tests and connects them with virtual
// Ethernet interfaces. It is independent of Services. Each namespace is removed with its
// test.
package netnstest
