// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package conntrack

import "errors"

func openFlowTable() (flowTable, error) {
	return nil, errors.New("connection tracking is supported on Linux only")
}
