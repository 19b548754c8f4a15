// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import "fmt"

func enter() (inside bool, err error) {
	return false, fmt.Errorf("%w: network namespaces are Linux's", errNoPackets)
}

func furnish(...string) error { return nil }
