// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package examples tests the commands of the gRPC endpoints together, as processes; it has
// only tests.
package examples
