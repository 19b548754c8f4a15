// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fidelity compares the proxy of examples/kube-proxy with the real kube-proxy as
// programs, item by item: fields of the configuration, flags, validation, exit codes. It
// has tests only.
//
// An item is a name with a value of each program. Values that differ must be in the list of
// differences of the section, with both values and a reason; a listed difference that does not
// occur fails too. docs/kube-proxy-differences.md has the lists. To add a section, add a
// line to sections in difference_test.go, and call compare with its title.
package fidelity
