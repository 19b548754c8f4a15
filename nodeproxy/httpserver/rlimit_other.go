// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package httpserver

import "math"

// descriptorLimit returns how many file descriptors the process may open.
func descriptorLimit() int { return math.MaxInt32 }
