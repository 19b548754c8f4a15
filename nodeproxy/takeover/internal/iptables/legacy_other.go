// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package iptables

import "context"

// removeLegacy does nothing: iptables exists on Linux only, and removeNFT returns an error.
func (Remover) removeLegacy(context.Context, bool) (Result, []error) { return Result{}, nil }
