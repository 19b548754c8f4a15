// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deploy tests the manifests of examples/deploy with a real API server. It has tests
// only.
package deploy
