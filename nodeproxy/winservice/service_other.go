// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package winservice

import "context"

// IsService reports whether the service control manager started the process.
func IsService() (bool, error) { return false, nil }

// Run returns ErrNotService: services exist on Windows only.
func Run(context.Context, string, func(ctx context.Context) error) error { return ErrNotService }

// OpenEventLog returns ErrNotService: the event log exists on Windows only.
func OpenEventLog(string) (*EventLog, error) { return nil, ErrNotService }
