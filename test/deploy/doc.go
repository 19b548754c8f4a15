// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package deploy tests the Containerfile, and the charts and manifests of examples/deploy, with
// a real API server and containers of runc. It has tests only.
package deploy
