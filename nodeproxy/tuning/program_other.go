// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package tuning

// releaseProgram does nothing: there is no portable way to unmap pages.
func releaseProgram() {}
