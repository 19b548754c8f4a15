// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package backendtest

import "testing"

// Main runs the tests of a package.
func Main(m *testing.M) int { return m.Run() }

// Run skips the test: the kit needs Linux.
func Run(t *testing.T, b Backend) *Report {
	t.Helper()
	return Try(t, b)
}

// Try skips the test: the kit needs Linux.
func Try(t testing.TB, b Backend, ids ...string) *Report {
	t.Helper()
	if err := b.validate(ids); err != nil {
		t.Fatal(err)
	}
	t.Skip("needs Linux: packets are sent between network namespaces")
	return nil
}

// IDs returns nil: there are no behaviours to check on this system.
func IDs() []string { return nil }
