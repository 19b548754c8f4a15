// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package conntrack

import (
	"errors"
	"fmt"
	"runtime"
)

func openFlowTable() (flowTable, error) {
	return nil, fmt.Errorf("connection tracking on %s: %w; Linux is required", runtime.GOOS, errors.ErrUnsupported)
}
