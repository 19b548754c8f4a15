// Copyright 2026 The Kubernetes Authors.
// SPDX-License-Identifier: Apache-2.0

// Package bytecode contains the eBPF programs of package ebpf, compiled: services.bpf.c and
// closer.bpf.c. `make bpf` compiles them again; `make check-bpf` checks that the result is the
// same.
package bytecode
