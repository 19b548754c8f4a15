// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package node_test

import "time"

// cpuTime returns 0: the benchmarks measure CPU time on Unix systems only.
func cpuTime() time.Duration { return 0 }
