// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netnstest gives tests network namespaces of their own, with real
// interfaces between them; it knows nothing of Services. Everything disappears
// with the test.
package netnstest
