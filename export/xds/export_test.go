// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

package xds

// Entries returns the number of names that s keeps.
func Entries(s *Sink) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.table.ids)
}
