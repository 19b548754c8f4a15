// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"context"
	"fmt"
)

func runInNamespace(context.Context) (inside bool, err error) {
	return false, fmt.Errorf("%w: network namespaces require Linux", errNotPermitted)
}

func configureNamespace(...string) error { return nil }
