// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bpftest prepares what tests of eBPF programs need: a cgroup of their own and a BPF file
// system. Everything is removed at the end of a test.
package bpftest
