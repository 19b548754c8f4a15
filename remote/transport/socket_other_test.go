// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package transport

func ownIdentity(string) Identity {
	return Identity{Name: anonymous, Groups: []string{unauthenticated}}
}
