// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deploy tries the manifests of examples/deploy against a real API server; it
// has only tests.
package deploy
