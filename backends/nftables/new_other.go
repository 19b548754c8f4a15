// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package nftables

import (
	"errors"
	"fmt"
	"runtime"
)

func errUnsupported() error {
	return fmt.Errorf("nftables: nf_tables is part of Linux, this is %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// New fails: nf_tables exists on Linux only.
func New(c Config) (*Backend, error) {
	if _, err := c.withDefaults(); err != nil {
		return nil, err
	}
	return nil, errUnsupported()
}

// Cleanup fails: nf_tables exists on Linux only.
func Cleanup(string) error { return errUnsupported() }
