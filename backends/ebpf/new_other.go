// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package ebpf

import (
	"errors"
	"fmt"
)

var errNotSupported = fmt.Errorf("ebpf: supported on Linux only: %w", errors.ErrUnsupported)

// New returns an error: eBPF exists on Linux only.
func New(Config) (*Backend, error) { return nil, errNotSupported }

// Cleanup returns an error: eBPF exists on Linux only.
func Cleanup(Config) error { return errNotSupported }
