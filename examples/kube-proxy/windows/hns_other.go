// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package main

import (
	"errors"
	"fmt"
	"runtime"

	"sigs.k8s.io/kpng/backends/hns"
)

// openHNS returns an error: HNS exists on Windows only.
func openHNS() (hns.HNS, func() error, error) {
	return nil, nil, fmt.Errorf("HNS requires Windows, not %s: %w", runtime.GOOS, errors.ErrUnsupported)
}
