// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package ipvs

import (
	"errors"
	"fmt"
	"runtime"
)

// ErrNoIPVS means that the kernel has no IPVS.
var ErrNoIPVS = fmt.Errorf("ipvs: IPVS requires Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)

// New returns ErrNoIPVS: IPVS exists on Linux only.
func New(cfg Config) (*Backend, error) {
	if _, err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	return nil, ErrNoIPVS
}

// Cleanup returns ErrNoIPVS: IPVS exists on Linux only.
func Cleanup(Config) error { return ErrNoIPVS }
