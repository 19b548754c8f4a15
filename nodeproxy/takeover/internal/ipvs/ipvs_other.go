// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Remove returns an error: IPVS exists on Linux only.
func Remove(context.Context) (Result, []error) {
	return Result{}, []error{fmt.Errorf("ipvs: requires Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)}
}

// RemoveSets returns an error: IP sets exist on Linux only.
func RemoveSets(ctx context.Context) (Result, []error) { return Remove(ctx) }
