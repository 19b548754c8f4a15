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
	return fmt.Errorf("nftables: nf_tables requires Linux, not %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// New returns an error: nf_tables exists on Linux only.
func New(cfg Config) (*Backend, error) {
	if _, err := cfg.withDefaults(); err != nil {
		return nil, err
	}
	return nil, errUnsupported()
}

// Cleanup returns an error: nf_tables exists on Linux only.
func Cleanup(string) error { return errUnsupported() }

// DeleteTables returns an error: nf_tables exists on Linux only.
func DeleteTables(string) (int, error) { return 0, errUnsupported() }

// ReadForeignTable returns an error: nf_tables exists on Linux only.
func ReadForeignTable(bool, string) (*ForeignTable, error) { return nil, errUnsupported() }

// Apply returns an error: nf_tables exists on Linux only.
func (*ForeignTable) Apply(ForeignEdit) error { return errUnsupported() }

// String returns the name of the table.
func (t *ForeignTable) String() string { return t.Name }
