// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package files compares the manifest reader of watchers/file with that of kubectl.
package files
